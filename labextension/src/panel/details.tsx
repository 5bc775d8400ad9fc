import React, { useEffect, useRef, useState } from 'react';

import { useTrans } from '../context';
import { IRun, isGoing } from '../run/document';
import { RunView } from '../run/run';
import { IMonitor } from '../tokens';
import { Problem } from './problem';
import { Resume } from './resume';
import { SteeringControls } from './steering';

/** How often a run that goes on is fetched at most, in milliseconds. */
const INTERVAL_MS = 500;

/** One run in full, kept current while it goes on. */
export function RunDetails(props: {
  id: string;
  monitor: IMonitor;
  /** Whether it has ended and can be continued. */
  resumable: boolean;
  onBack: () => void;
  onOpen: (id: string) => void;
}): React.JSX.Element {
  const { id, monitor, resumable, onBack, onOpen } = props;
  const trans = useTrans();
  const { run, received, problem } = useRun(id, monitor);
  const parent = run?.parent ?? '';
  const back = useRef<HTMLButtonElement>(null);
  useEffect(() => back.current?.focus(), []);
  return (
    <section className="kowalski-details" aria-label={trans.__('Run %1', id)}>
      <div className="kowalski-buttons">
        <button
          ref={back}
          type="button"
          className="kowalski-button"
          onClick={onBack}
        >
          {trans.__('All runs')}
        </button>
        {parent !== '' && (
          <button
            type="button"
            className="kowalski-button"
            title={trans.__('Show the run that asked for this one')}
            onClick={() => onOpen(parent)}
          >
            {trans.__('Asked by %1', parent)}
          </button>
        )}
      </div>
      {problem !== null && (
        <Problem text={trans.__('The run could not be fetched: %1', problem)} />
      )}
      {resumable && <Resume id={id} />}
      {run !== null && (
        <RunView
          run={run}
          received={received}
          controls={
            isGoing(run.state) && parent === '' ? (
              <SteeringControls run={run} monitor={monitor} />
            ) : null
          }
        />
      )}
    </section>
  );
}

/** Fetch a run now and, while it goes on, whenever the monitor hears of a change. */
function useRun(
  id: string,
  monitor: IMonitor
): { run: IRun | null; received: number; problem: string | null } {
  const [run, setRun] = useState<IRun | null>(null);
  const [received, setReceived] = useState(0);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    let left = false;
    let busy = false;
    let ended = false;
    // Heard of while the last fetch went on, or too soon after it.
    let changed = false;
    let timer = 0;
    const fetchRun = async () => {
      if (busy || ended) {
        changed = busy;
        return;
      }
      busy = true;
      changed = false;
      try {
        const fetched = await monitor.run(id);
        // A reply that comes after the user has left is dropped.
        if (!left) {
          ended = !isGoing(fetched.state);
          setRun(fetched);
          setReceived(Date.now());
          setProblem(null);
        }
      } catch (reason) {
        if (!left) {
          setProblem(reason instanceof Error ? reason.message : String(reason));
        }
      }
      if (!left) {
        timer = window.setTimeout(() => {
          busy = false;
          if (changed) {
            void fetchRun();
          }
        }, INTERVAL_MS);
      }
    };
    const onChanged = () => void fetchRun();
    monitor.changed.connect(onChanged);
    void fetchRun();
    return () => {
      left = true;
      window.clearTimeout(timer);
      monitor.changed.disconnect(onChanged);
    };
  }, [id, monitor]);
  return { run, received, problem };
}
