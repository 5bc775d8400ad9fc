import { RefObject, useEffect } from 'react';

const ITEM = '[role="treeitem"]';

/**
 * The keyboard of the ARIA tree pattern: arrows, Home, End, Enter and Space.
 *
 * Listens on the window in the capture phase, since the application's shortcuts
 * (in a notebook, arrows move between cells) are taken on the document in that
 * phase. Keys with a modifier, and keys typed in a text box inside an item, pass.
 *
 * Source: https://www.w3.org/WAI/ARIA/apg/patterns/treeview/
 */
export function useTreeKeyboard(
  root: RefObject<HTMLElement>,
  setOpen: (node: string, open: boolean) => void
): void {
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      const item = event.target;
      if (
        !(item instanceof HTMLElement) ||
        !item.matches(ITEM) ||
        !root.current?.contains(item) ||
        event.ctrlKey ||
        event.altKey ||
        event.metaKey ||
        event.shiftKey
      ) {
        return;
      }
      if (pressed(event.key, root.current, item, setOpen)) {
        event.preventDefault();
        event.stopPropagation();
      }
    };
    window.addEventListener('keydown', onKeyDown, true);
    return () => window.removeEventListener('keydown', onKeyDown, true);
  }, [root, setOpen]);
}

/** Act on a key; returns whether it is one of the tree's. */
function pressed(
  key: string,
  root: HTMLElement,
  item: HTMLElement,
  setOpen: (node: string, open: boolean) => void
): boolean {
  // Closed branches have no children in the document: these are the visible ones.
  const items = [...root.querySelectorAll<HTMLElement>(ITEM)];
  const index = items.indexOf(item);
  const node = item.dataset.node ?? '';
  const expanded = item.getAttribute('aria-expanded');
  switch (key) {
    case 'ArrowDown':
      items[index + 1]?.focus();
      return true;
    case 'ArrowUp':
      items[index - 1]?.focus();
      return true;
    case 'Home':
      items[0]?.focus();
      return true;
    case 'End':
      items.at(-1)?.focus();
      return true;
    case 'ArrowRight':
      if (expanded === 'false') {
        setOpen(node, true);
      } else {
        item.querySelector<HTMLElement>(ITEM)?.focus();
      }
      return true;
    case 'ArrowLeft':
      if (expanded === 'true') {
        setOpen(node, false);
      } else {
        item.parentElement?.closest<HTMLElement>(ITEM)?.focus();
      }
      return true;
    case 'Enter':
    case ' ':
      if (expanded !== null) {
        setOpen(node, expanded === 'false');
      } else {
        item.querySelector<HTMLElement>('button')?.click();
      }
      return true;
    default:
      return false;
  }
}
