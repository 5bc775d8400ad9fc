import { Sanitizer } from '@jupyterlab/apputils';
import React, { useMemo } from 'react';

import { IRich } from './document';

const sanitizer = new Sanitizer();

/** Structure and text: nothing that looks like the application, fetches something or can be followed. */
const ALLOWED = {
  allowedTags: [
    ...['table', 'caption', 'thead', 'tbody', 'tfoot', 'tr', 'th', 'td'],
    ...['p', 'br', 'hr', 'div', 'span', 'pre', 'code', 'blockquote'],
    ...['ul', 'ol', 'li', 'dl', 'dt', 'dd', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6'],
    ...['b', 'strong', 'i', 'em', 'u', 's', 'sub', 'sup', 'small', 'mark']
  ],
  allowedAttributes: {
    th: ['colspan', 'rowspan', 'scope'],
    td: ['colspan', 'rowspan', 'scope']
  }
};

/** A picture or table that the model's code has shown. The document may be a stranger's. */
export function Rich(props: {
  rich: IRich;
  /** What it shows, in words. */
  text: string;
  label: string;
}): React.JSX.Element {
  const { rich, text, label } = props;
  const html = useMemo(
    () =>
      rich.mime === 'text/html' ? sanitizer.sanitize(rich.data, ALLOWED) : '',
    [rich.mime, rich.data]
  );
  if (rich.mime !== 'text/html') {
    // Within a picture nothing runs, and nothing is fetched.
    return (
      <img
        className="kowalski-picture"
        src={`data:${rich.mime};base64,${rich.data}`}
        alt={text}
      />
    );
  }
  return (
    <div
      className="kowalski-rich jp-RenderedHTMLCommon"
      tabIndex={0}
      role="group"
      aria-label={label}
      dangerouslySetInnerHTML={{ __html: html }}
    />
  );
}
