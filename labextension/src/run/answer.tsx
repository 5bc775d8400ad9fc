import { Clipboard } from '@jupyterlab/apputils';
import React, { useEffect, useState } from 'react';

import { useTrans } from '../context';
import { TextBox } from '../text';
import { IAnswer } from './document';

/** How long the button says that the text was copied, in milliseconds. */
const COPIED_MS = 2000;

export function Answer({ answer }: { answer: IAnswer }): React.JSX.Element {
  const trans = useTrans();
  const label = trans.__('Answer');
  return (
    <section className="kowalski-answer" aria-label={label}>
      <header>
        <span className="kowalski-title">{label}</span>
        <span className="kowalski-quiet">{answer.type}</span>
        <CopyButton text={answer.text} />
      </header>
      <TextBox
        text={answer.text}
        label={label}
        className="kowalski-answer-text"
      />
    </section>
  );
}

/** A button that copies a text and says so for a moment. */
export function CopyButton({ text }: { text: string }): React.JSX.Element {
  const trans = useTrans();
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) {
      return;
    }
    const timer = window.setTimeout(() => setCopied(false), COPIED_MS);
    return () => window.clearTimeout(timer);
  }, [copied]);
  return (
    <button
      type="button"
      className="kowalski-button"
      onClick={() => {
        Clipboard.copyToSystem(text);
        setCopied(true);
      }}
    >
      {copied ? trans.__('Copied') : trans.__('Copy')}
    </button>
  );
}
