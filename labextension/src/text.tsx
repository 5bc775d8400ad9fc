import React, { useEffect, useLayoutEffect, useRef, useState } from 'react';

import { Highlight } from './context';

/** Within this many pixels of its end a box counts as scrolled to the end. */
const END_SLACK = 8;

/** Fills `host`, which is empty, with the text in colours. */
type Colour = (text: string, host: HTMLElement) => Promise<void>;

interface ITextBoxProps {
  readonly text: string;
  /** What the box holds, for assistive technology. */
  readonly label: string;
  readonly className: string;
  /** Whether more is coming: then the end stays in sight unless scrolled away. */
  readonly growing?: boolean;
  /** Colours the text once it is complete. */
  readonly colour?: Colour | null;
}

/** Text in a box that scrolls by itself, reachable by keyboard when it does. */
export function TextBox(props: ITextBoxProps): React.JSX.Element {
  const { text, growing = false, colour = null } = props;
  const box = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const scrolls = useOverflow(box);

  useLayoutEffect(() => {
    if (content.current !== null) {
      setText(content.current, text);
    }
    if (growing && atEnd.current && box.current !== null) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [text, growing]);

  useEffect(() => {
    if (growing || colour === null) {
      return;
    }
    let latest = true;
    const staging = document.createElement('div');
    colour(text, staging)
      .then(() => {
        if (latest) {
          content.current?.replaceChildren(...staging.childNodes);
        }
      })
      .catch((reason: unknown) => {
        console.warn('The code is shown without colours.', reason);
      });
    return () => {
      latest = false;
    };
  }, [text, growing, colour]);

  return (
    <div
      ref={box}
      className={`kowalski-text ${props.className}`}
      onScroll={event => {
        const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
        atEnd.current = scrollHeight - scrollTop - clientHeight < END_SLACK;
      }}
      {...(scrolls && {
        tabIndex: 0,
        role: 'group',
        'aria-label': props.label
      })}
    >
      <div ref={content} />
    </div>
  );
}

/** Set a node's text; text that only grew is appended, which keeps selections. */
function setText(host: HTMLElement, text: string): void {
  const [node] = host.childNodes;
  if (
    node instanceof Text &&
    host.childNodes.length === 1 &&
    text.startsWith(node.data)
  ) {
    node.appendData(text.slice(node.data.length));
  } else if (host.textContent !== text) {
    host.textContent = text;
  }
}

/** Whether an element's content is larger than the element. */
function useOverflow(box: React.RefObject<HTMLElement>): boolean {
  const [overflows, setOverflows] = useState(false);
  useEffect(() => {
    const element = box.current;
    if (element === null) {
      return;
    }
    const measure = () =>
      setOverflows(
        element.scrollHeight > element.clientHeight ||
          element.scrollWidth > element.clientWidth
      );
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    for (const child of element.children) {
      observer.observe(child);
    }
    return () => observer.disconnect();
  }, [box]);
  return overflows;
}

/** `highlight` for one language, as a `TextBox` wants it. */
export function colourAs(
  highlight: Highlight | null,
  language: string
): Colour | null {
  return highlight && ((text, host) => highlight(text, language, host));
}
