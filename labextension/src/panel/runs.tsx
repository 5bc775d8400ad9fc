import { showErrorMessage } from '@jupyterlab/apputils';
import React, { useId, useState } from 'react';

import { useElapsed } from '../clock';
import { useTrans } from '../context';
import { firstLine, formatSeconds } from '../format';
import { StateMark } from '../mark';
import { isGoing } from '../run/document';
import { runLook } from '../run/states';
import { IRunSummary } from '../server/status';
import { IMonitor } from '../tokens';
import { openNodes } from '../tree/opennodes';
import { Command } from './command';
import { IFamily, nest } from './families';

/** The cells of a first run. */
const FIRST_CELLS = [
  '%load_ext kowalski_jupyter',
  'text = open("notes.txt").read()',
  '%%rlm text\nWhich three topics come up most often?'
];

/** Under this name it is remembered whose child runs are shown. */
const LIST = 'kowalski-runs';

interface IRunsProps {
  readonly runs: readonly IRunSummary[];
  readonly monitor: IMonitor;
  readonly onOpen: (id: string) => void;
}

export function Runs({ runs, monitor, onOpen }: IRunsProps): React.JSX.Element {
  const trans = useTrans();
  if (runs.length === 0) {
    return (
      <div className="kowalski-empty">
        <p>{trans.__('No runs yet. In a notebook, run these three cells:')}</p>
        {FIRST_CELLS.map(source => (
          <Command key={source} text={source} />
        ))}
      </div>
    );
  }
  return (
    <ul className="kowalski-runs">
      {nest(runs).map(family => (
        <Run
          key={family.run.id}
          family={family}
          monitor={monitor}
          onOpen={onOpen}
        />
      ))}
    </ul>
  );
}

interface IRunProps {
  readonly family: IFamily;
  readonly monitor: IMonitor;
  readonly onOpen: (id: string) => void;
}

function Run({ family, monitor, onOpen }: IRunProps): React.JSX.Element {
  const { run, children } = family;
  return (
    <li data-run={run.id}>
      <Summary run={run} monitor={monitor} onOpen={onOpen} />
      {children.length > 0 && (
        <ChildRuns family={family} monitor={monitor} onOpen={onOpen} />
      )}
    </li>
  );
}

/** A count of child runs that opens to their list. */
function ChildRuns({ family, monitor, onOpen }: IRunProps): React.JSX.Element {
  const { run, children } = family;
  const trans = useTrans();
  const [open, setOpen] = useState(openNodes.get(LIST, run.id) ?? false);
  const listId = useId();
  return (
    <div className="kowalski-child-runs">
      <button
        type="button"
        className="kowalski-link"
        aria-expanded={open}
        aria-controls={open ? listId : undefined}
        onClick={() => {
          openNodes.set(LIST, run.id, !open);
          setOpen(!open);
        }}
      >
        {trans._n('%1 child run', '%1 child runs', children.length)}
      </button>
      {open && (
        <ul id={listId} className="kowalski-runs">
          {children.map(child => (
            <Run
              key={child.run.id}
              family={child}
              monitor={monitor}
              onOpen={onOpen}
            />
          ))}
        </ul>
      )}
    </div>
  );
}

function Summary(props: {
  run: IRunSummary;
  monitor: IMonitor;
  onOpen: (id: string) => void;
}): React.JSX.Element {
  const { run, monitor, onOpen } = props;
  const trans = useTrans();
  const look = runLook(run, trans);
  const going = isGoing(run.state);
  const live = going && monitor.connection === 'open';
  const elapsed = useElapsed(run.seconds, live ? monitor.received : null);
  const question = firstLine(run.question);
  return (
    <div className="kowalski-run-row">
      <button
        type="button"
        className="kowalski-run-open"
        onClick={() => onOpen(run.id)}
      >
        <span className="kowalski-run-question">{question}</span>
        <span className="kowalski-status">
          <span className="kowalski-state">
            <StateMark mark={look.mark} />
            {look.word}
          </span>
          {run.turn > 0 && (
            <span>{trans.__('turn %1 of %2', run.turn, run.max_turns)}</span>
          )}
          {run.subcalls > 0 && (
            <span>{trans._n('%1 sub-call', '%1 sub-calls', run.subcalls)}</span>
          )}
          {run.resumable && <span>{trans.__('can be continued')}</span>}
          <span>{formatSeconds(elapsed, trans)}</span>
        </span>
        {run.answer !== null && (
          <span className="kowalski-run-answer">
            <span className="kowalski-quiet">{trans.__('Answer:')}</span>{' '}
            {run.answer}
          </span>
        )}
        {run.error !== null && (
          <span className="kowalski-run-error">{firstLine(run.error)}</span>
        )}
      </button>
      {/* A child run ends with the run that asked for it. */}
      {going && run.parent === '' && (
        <CancelButton id={run.id} about={question} monitor={monitor} />
      )}
    </div>
  );
}

/** Exists while the run goes on; pressed once, it waits for the run's end. */
function CancelButton(props: {
  id: string;
  about: string;
  monitor: IMonitor;
}): React.JSX.Element {
  const { id, about, monitor } = props;
  const trans = useTrans();
  const [pressed, setPressed] = useState(false);
  const cancel = async () => {
    setPressed(true);
    try {
      await monitor.cancel(id);
    } catch (reason) {
      setPressed(false);
      void showErrorMessage(
        trans.__('The run was not cancelled'),
        String(reason)
      );
    }
  };
  return (
    <button
      type="button"
      className="kowalski-button"
      aria-label={trans.__('Cancel the run “%1”', about)}
      disabled={pressed}
      onClick={() => void cancel()}
    >
      {pressed ? trans.__('Stopping …') : trans.__('Cancel')}
    </button>
  );
}
