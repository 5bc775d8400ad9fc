import React from 'react';

import { useTrans } from '../context';
import { CopyButton } from '../copy';
import { TextBox } from '../text';
import { IAnswer } from './document';
import { RunError } from './error';
import { Rich } from './rich';

/** What came out; where a limit ended the run, with what ended it. */
export function Answer(props: {
  answer: IAnswer;
  error: string | null;
}): React.JSX.Element {
  const { answer, error } = props;
  const trans = useTrans();
  const label = answer.partial
    ? trans.__('Best answer so far')
    : trans.__('Answer');
  return (
    <section
      className="kowalski-answer"
      aria-label={label}
      data-partial={answer.partial}
    >
      <header>
        <span className="kowalski-title">{label}</span>
        <span className="kowalski-quiet">{answer.type}</span>
        <CopyButton text={answer.text} />
      </header>
      {answer.partial && error !== null && <RunError text={error} />}
      {answer.rich === null ? (
        <TextBox
          text={answer.text}
          label={label}
          className="kowalski-answer-text"
        />
      ) : (
        <Rich rich={answer.rich} text={answer.text} label={label} />
      )}
    </section>
  );
}
