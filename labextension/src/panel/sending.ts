import { useEffect, useRef, useState } from 'react';

import { Steering } from '../server/api';
import { IMonitor } from '../tokens';

export interface ISending {
  /** Send; resolves to whether it was taken. */
  readonly send: (steering: Steering) => Promise<boolean>;
  readonly busy: boolean;
  /** Why the last was not taken, in words for the user. */
  readonly problem: string | null;
}

/** Sends what the user wants of a run, one thing at a time. */
export function useSending(id: string, monitor: IMonitor): ISending {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const shown = useRef(true);
  useEffect(() => {
    shown.current = true;
    return () => {
      shown.current = false;
    };
  }, []);
  const send = async (steering: Steering) => {
    setBusy(true);
    setProblem(null);
    let refusal: string | null = null;
    try {
      await monitor.steer(id, steering);
    } catch (reason) {
      refusal = reason instanceof Error ? reason.message : String(reason);
    }
    if (shown.current) {
      setBusy(false);
      setProblem(refusal);
    }
    return refusal === null;
  };
  return { send, busy, problem };
}
