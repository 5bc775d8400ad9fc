import React, { useState } from 'react';

import { useElapsed } from '../clock';
import { useTrans } from '../context';
import { formatCount, formatPercent, formatSeconds } from '../format';
import { StateMark } from '../mark';
import { TextBox } from '../text';
import { Answer } from './answer';
import { RunError } from './error';
import { RunLink } from './link';
import { IProgress, IRun, isGoing } from './document';
import { IStateLook, runLook } from './states';
import { Trace } from './trace';

/** After its time limit a run has this many seconds to report its end. */
const GRACE_SECONDS = 60;

interface IRunViewProps {
  readonly run: IRun;
  /**
   * When the run was heard of, in milliseconds as of `Date.now()`; null if it is a
   * saved one, of which nothing more will be heard.
   */
  readonly received: number | null;
  /** What the user can do with the run here; else it is told what it waits for. */
  readonly controls?: React.ReactNode;
}

/** One run: what was asked, how it stands, what came out, and how it got there. */
export function RunView(props: IRunViewProps): React.JSX.Element {
  const { run, received, controls } = props;
  const trans = useTrans();
  const abandoned = useIsAbandoned(run, received);
  const look = abandoned
    ? { mark: 'stopped' as const, word: trans.__('Unfinished when last saved') }
    : runLook(run, trans);
  return (
    <section
      className="kowalski-run"
      aria-label={trans.__('Run %1', run.id)}
      data-state={run.state}
    >
      <StatusLine run={run} look={look} received={received} />
      <TextBox
        text={run.question}
        label={trans.__('Question')}
        className="kowalski-question"
      />
      {run.progress !== null && <Progress progress={run.progress} />}
      {controls ?? (look.mark === 'waiting' && <ApprovalNote run={run} />)}
      {run.error !== null && run.answer?.partial !== true && (
        <RunError text={run.error} />
      )}
      {run.answer !== null && <Answer answer={run.answer} error={run.error} />}
      {run.notices.length > 0 && (
        <ul className="kowalski-notices" aria-label={trans.__('Notices')}>
          {run.notices.map((notice, index) => (
            <li key={index}>{notice}</li>
          ))}
        </ul>
      )}
      <Trace run={run} />
    </section>
  );
}

function StatusLine(props: {
  run: IRun;
  look: IStateLook;
  received: number | null;
}): React.JSX.Element {
  const { run, look, received } = props;
  const { usage, limits } = run;
  const elapsed = useElapsed(run.seconds, isGoing(run.state) ? received : null);
  const trans = useTrans();
  const turn = trans.__('turn %1 of %2', run.turns.length, limits.turns);
  return (
    <div className="kowalski-status">
      <span className="kowalski-state">
        <StateMark mark={look.mark} />
        {look.word}
      </span>
      {run.turns.length > 0 && <span>{turn}</span>}
      {usage.subcalls > 0 && (
        <span>
          {usage.subcalls_finished < usage.subcalls
            ? trans.__(
                '%1 of %2 sub-calls',
                formatCount(usage.subcalls_finished),
                formatCount(usage.subcalls)
              )
            : trans._n('%1 sub-call', '%1 sub-calls', usage.subcalls)}
          {usage.subcalls_failed > 0 &&
            trans.__(' (%1 failed)', formatCount(usage.subcalls_failed))}
          {usage.subcalls_remembered > 0 &&
            trans.__(
              ' (%1 remembered)',
              formatCount(usage.subcalls_remembered)
            )}
        </span>
      )}
      <span className="kowalski-number">{formatSeconds(elapsed, trans)}</span>
      {run.model !== null && (
        <span className="kowalski-quiet">
          {trans.__('%1 on %2', run.model.name, run.model.where)}
        </span>
      )}
      <span role="status" aria-live="polite" className="kowalski-spoken">
        {isGoing(run.state) && run.turns.length > 0
          ? trans.__('%1, %2', look.word, turn)
          : look.word}
      </span>
    </div>
  );
}

function Progress({ progress }: { progress: IProgress }): React.JSX.Element {
  const { text, done, total } = progress;
  const known = done !== null && total !== null && total > 0;
  return (
    <label className="kowalski-progress">
      <span>{known ? `${text} · ${formatPercent(done / total)}` : text}</span>
      <progress {...(known && { value: done, max: total })} />
    </label>
  );
}

/** Where nothing can be decided: says that a block waits for the user's word. */
function ApprovalNote({ run }: { run: IRun }): React.JSX.Element {
  const trans = useTrans();
  return (
    <p className="kowalski-waits">
      {trans.__(
        'Block %1 waits for your word, to be given where the run was started or in the Kowalski panel:',
        run.approval?.cell ?? ''
      )}{' '}
      <RunLink id={run.id} />
    </p>
  );
}

/** Whether a run was saved unfinished: it is not called running for ever. */
function useIsAbandoned(run: IRun, received: number | null): boolean {
  const [opened] = useState(Date.now);
  const end = run.started + run.limits.seconds + GRACE_SECONDS;
  return isGoing(run.state) && received === null && opened / 1000 > end;
}
