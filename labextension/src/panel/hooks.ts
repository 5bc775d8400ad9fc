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
