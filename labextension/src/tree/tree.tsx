import React, {
  createContext,
  ReactNode,
  useCallback,
  useContext,
  useId,
  useMemo,
  useRef,
  useState
} from 'react';

import { useTreeKeyboard } from './keyboard';
import { openNodes } from './opennodes';

/** The longest name of an item that is read out, in characters. */
const MAX_LABEL = 300;

interface ITreeState {
  /** The one item that the Tab key reaches. */
  readonly active: string;
  readonly isOpen: (node: string, byDefault: boolean) => boolean;
  readonly setOpen: (node: string, open: boolean) => void;
  readonly onFocus: (event: React.FocusEvent<HTMLElement>) => void;
}

const TreeState = createContext<ITreeState | null>(null);

function useTree(): ITreeState {
  const state = useContext(TreeState);
  if (state === null) {
    throw new Error('A tree item needs a Tree around it');
  }
  return state;
}

interface ITreeProps {
  /** Under this name the open nodes are remembered. */
  readonly id: string;
  readonly label: string;
  /** The node that the Tab key reaches before the user has moved. */
  readonly first: string;
  readonly children: ReactNode;
}

/** A tree with the ARIA pattern's roles and keyboard. */
export function Tree(props: ITreeProps): React.JSX.Element {
  const { id, first } = props;
  const root = useRef<HTMLDivElement>(null);
  const [focused, setFocused] = useState<string | null>(null);
  const [choices, setChoices] = useState(0);

  const setOpen = useCallback(
    (node: string, open: boolean) => {
      openNodes.set(id, node, open);
      setChoices(count => count + 1);
    },
    [id]
  );
  useTreeKeyboard(root, setOpen);

  const state = useMemo<ITreeState>(
    () => ({
      active: focused ?? first,
      isOpen: (node, byDefault) => openNodes.get(id, node) ?? byDefault,
      setOpen,
      onFocus: event => {
        setFocused(event.currentTarget.dataset.node ?? null);
        keepAncestorsOpen(id, event.currentTarget);
      }
    }),
    // `choices` stands for what `openNodes` holds.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [id, first, focused, setOpen, choices]
  );
  return (
    <div
      ref={root}
      role="tree"
      aria-label={props.label}
      className="kowalski-tree"
    >
      <TreeState.Provider value={state}>{props.children}</TreeState.Provider>
    </div>
  );
}

interface IBranchProps {
  readonly node: string;
  /** The line that stays when the branch is closed. */
  readonly row: ReactNode;
  /** Whether it is open until the user chooses. */
  readonly open?: boolean;
  readonly children: ReactNode;
}

/** An item that opens and closes. Its children exist only while it is open. */
export function Branch(props: IBranchProps): React.JSX.Element {
  const { node } = props;
  const tree = useTree();
  const rowId = useId();
  const open = tree.isOpen(node, props.open ?? false);
  return (
    <div
      role="treeitem"
      className="kowalski-branch"
      aria-expanded={open}
      aria-labelledby={rowId}
      tabIndex={tree.active === node ? 0 : -1}
      data-node={node}
      onFocus={event => ownFocus(event, tree)}
    >
      <div
        id={rowId}
        className="kowalski-row"
        onClick={() => tree.setOpen(node, !open)}
      >
        <svg className="kowalski-caret" viewBox="0 0 16 16" aria-hidden="true">
          <path d="M6 4l4 4l-4 4" />
        </svg>
        {props.row}
      </div>
      {open && (
        <div role="group" className="kowalski-children">
          {props.children}
        </div>
      )}
    </div>
  );
}

interface ILeafProps {
  readonly node: string;
  /** What it is, for assistive technology; short contents are part of it. */
  readonly label: string;
  readonly children: ReactNode;
}

/** An item without children. */
export function Leaf(props: ILeafProps): React.JSX.Element {
  const tree = useTree();
  return (
    <div
      role="treeitem"
      className="kowalski-leaf"
      aria-label={props.label.slice(0, MAX_LABEL)}
      tabIndex={tree.active === props.node ? 0 : -1}
      data-node={props.node}
      onFocus={event => ownFocus(event, tree)}
    >
      {props.children}
    </div>
  );
}

/** Focus events bubble: only those of the item itself count. */
function ownFocus(
  event: React.FocusEvent<HTMLElement>,
  tree: ITreeState
): void {
  if (event.target === event.currentTarget) {
    tree.onFocus(event);
  }
}

/** Where the user is must not close by itself when a turn ends. */
function keepAncestorsOpen(tree: string, item: HTMLElement): void {
  let branch = item.parentElement?.closest<HTMLElement>('[role="treeitem"]');
  while (branch?.dataset.node !== undefined) {
    openNodes.set(tree, branch.dataset.node, true);
    branch = branch.parentElement?.closest<HTMLElement>('[role="treeitem"]');
  }
}
