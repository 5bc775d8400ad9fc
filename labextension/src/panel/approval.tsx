import React, {
  useContext,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState
} from 'react';

import { useTrans, ViewTools } from '../context';
import { StateMark } from '../mark';
import { IApproval } from '../run/document';
import { colourAs, TextBox } from '../text';
import { IMonitor } from '../tokens';
import { Problem } from './problem';
import { useSending } from './sending';

/** The longest code that the server takes, in characters. */
const MAX_CODE = 100_000;

/** A block that waits for the user's word, and the three words there are. */
export function Approval(props: {
  id: string;
  approval: IApproval;
  monitor: IMonitor;
}): React.JSX.Element {
  const { id, approval, monitor } = props;
  const { cell, language, code } = approval;
  const trans = useTrans();
  const { send, busy, problem } = useSending(id, monitor);
  const [given, setGiven] = useState(false);
  const [draft, setDraft] = useState(code);
  const [editing, setEditing] = useState(false);
  const editButton = useRef<HTMLButtonElement>(null);
  const section = useRef<HTMLElement>(null);
  // It goes when the run has heard the word; whoever had the focus in it stays in the panel.
  useLayoutEffect(() => {
    const own = section.current;
    return () => {
      if (own?.contains(document.activeElement)) {
        own.closest<HTMLElement>('.kowalski-panel')?.focus();
      }
    };
  }, []);
  const label = trans.__('Block %1 waits for your word', cell);
  const disabled = busy || given;

  const decide = async (decide: 'run' | 'edit' | 'skip', edited = '') => {
    if (disabled) {
      return;
    }
    // Until the run has heard of it and this view goes.
    setGiven(await send({ decide, cell, code: edited }));
  };
  const sendDraft = () => {
    if (draft.trim() !== '') {
      void (draft === code ? decide('run') : decide('edit', draft));
    }
  };
  const leaveEditor = () => {
    setEditing(false);
    window.requestAnimationFrame(() => editButton.current?.focus());
  };
  return (
    <section ref={section} className="kowalski-approval" aria-label={label}>
      <p role="status" className="kowalski-approval-title">
        <StateMark mark="waiting" />
        <span className="kowalski-title">{label}</span>
        <span className="kowalski-quiet">{language}</span>
      </p>
      {editing ? (
        <Editor
          label={trans.__('Code of block %1', cell)}
          code={draft}
          onChange={setDraft}
          onSend={sendDraft}
          onLeave={leaveEditor}
        />
      ) : (
        <Code code={code} language={language} cell={cell} />
      )}
      <div className="kowalski-buttons">
        {editing ? (
          <>
            <button
              type="button"
              className="kowalski-button kowalski-primary"
              aria-disabled={disabled || draft.trim() === ''}
              title={trans.__('Ctrl+Enter')}
              onClick={sendDraft}
            >
              {trans.__('Run this')}
            </button>
            <button
              type="button"
              className="kowalski-button"
              aria-disabled={disabled}
              onClick={leaveEditor}
            >
              {trans.__('Back')}
            </button>
          </>
        ) : (
          <>
            <button
              type="button"
              className="kowalski-button kowalski-primary"
              aria-disabled={disabled}
              onClick={() => void decide('run')}
            >
              {trans.__('Run')}
            </button>
            <button
              ref={editButton}
              type="button"
              className="kowalski-button"
              aria-disabled={disabled}
              onClick={() => setEditing(true)}
            >
              {trans.__('Edit')}
            </button>
            <button
              type="button"
              className="kowalski-button"
              aria-disabled={disabled}
              onClick={() => void decide('skip')}
            >
              {trans.__('Skip')}
            </button>
          </>
        )}
      </div>
      {problem !== null && <Problem text={problem} />}
    </section>
  );
}

function Code({ code, language, cell }: IApproval): React.JSX.Element {
  const trans = useTrans();
  const { highlight } = useContext(ViewTools);
  const colour = useMemo(
    () => colourAs(highlight, language),
    [highlight, language]
  );
  return (
    <TextBox
      className="kowalski-code"
      label={trans.__('Code of block %1', cell)}
      text={code}
      colour={colour}
    />
  );
}

/** Code to change: Ctrl+Enter (Cmd+Enter) sends it, Escape leaves. */
function Editor(props: {
  label: string;
  code: string;
  onChange: (code: string) => void;
  onSend: () => void;
  onLeave: () => void;
}): React.JSX.Element {
  const { label, code, onChange, onSend, onLeave } = props;
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => box.current?.focus(), []);
  return (
    <textarea
      ref={box}
      className="kowalski-text kowalski-code kowalski-editor"
      aria-label={label}
      value={code}
      rows={Math.min(Math.max(code.split('\n').length + 1, 4), 20)}
      maxLength={MAX_CODE}
      spellCheck={false}
      autoCapitalize="off"
      autoComplete="off"
      onChange={event => onChange(event.target.value)}
      onKeyDown={event => {
        if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
          event.preventDefault();
          onSend();
        } else if (event.key === 'Escape') {
          event.preventDefault();
          onLeave();
        }
      }}
    />
  );
}
