import { Clipboard } from '@jupyterlab/apputils';
import React, { useEffect, useState } from 'react';

import { useTrans } from './context';

/** How long the button says that the text was copied, in milliseconds. */
const COPIED_MS = 2000;

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
