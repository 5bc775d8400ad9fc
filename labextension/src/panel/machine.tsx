import React from 'react';

import { useTrans } from '../context';
import { formatGigabytes, formatPercent } from '../format';
import { IMachine } from '../server/status';
import { Meter } from './meter';

/** This machine's load and memory, each in words and as a bar. */
export function Machine(props: { machine: IMachine }): React.JSX.Element {
  const { load, cores, memory_total, memory_available } = props.machine;
  const trans = useTrans();
  const used = Math.max(0, memory_total - memory_available);
  return (
    <div className="kowalski-machine">
      <Meter
        name={trans.__('Processor')}
        share={load}
        words={trans._n(
          '%2 of %1 core',
          '%2 of %1 cores',
          cores,
          formatPercent(load)
        )}
      />
      <Meter
        name={trans.__('Memory')}
        share={memory_total > 0 ? used / memory_total : 0}
        words={trans.__(
          '%1 of %2 GB',
          formatGigabytes(used),
          formatGigabytes(memory_total)
        )}
      />
    </div>
  );
}
