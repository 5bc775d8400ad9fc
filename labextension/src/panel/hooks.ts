import { useEffect, useState } from 'react';

import { IStatus } from '../server/status';
import { Connection, IMonitor } from '../tokens';

interface IPicture {
  readonly connection: Connection;
  readonly status: IStatus | null;
}

/** What the monitor tells, rendering again whenever it changes. */
export function useMonitor(monitor: IMonitor): IPicture {
  const [picture, setPicture] = useState(() => take(monitor));
  useEffect(() => {
    const onChanged = () => setPicture(take(monitor));
    monitor.changed.connect(onChanged);
    onChanged();
    return () => {
      monitor.changed.disconnect(onChanged);
    };
  }, [monitor]);
  return picture;
}

function take({ connection, status }: IMonitor): IPicture {
  return { connection, status };
}

/** The time in milliseconds, a second old at most while `ticking`. */
export function useNow(ticking: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!ticking) {
      return;
    }
    const timer = window.setInterval(() => setNow(Date.now()), 1000);
    return () => window.clearInterval(timer);
  }, [ticking]);
  return now;
}
