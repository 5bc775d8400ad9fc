import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { useTrans } from '../context';
import {
  formatCount,
  formatGigabytes,
  formatPercent,
  formatSeconds
} from '../format';
import { StateMark } from '../mark';
import { IStateLook } from '../run/states';
import { IDevice, IInstance, Trend } from '../server/devices';
import { Meter } from './meter';
import { Sparkline } from './sparkline';

/** One device: how it is, how it was lately, and what runs on it. */
export function Device(props: {
  device: IDevice;
  /** By field. */
  trends: ReadonlyMap<string, Trend>;
}): React.JSX.Element {
  const { device, trends } = props;
  const trans = useTrans();
  const look = deviceLook(device, trans);
  const machine = [device.model, device.chip].filter(word => word !== '');
  return (
    <div className="kowalski-device" role="group" aria-label={device.name}>
      <div className="kowalski-status">
        <span className="kowalski-device-name">{device.name}</span>
        <span className="kowalski-state">
          <StateMark mark={look.mark} />
          {look.word}
        </span>
      </div>
      {machine.length > 0 && (
        <div className="kowalski-quiet">{machine.join(', ')}</div>
      )}
      <Memory device={device} />
      <div className="kowalski-status">
        {facts(device, trans).map(fact => (
          <span key={fact}>{fact}</span>
        ))}
      </div>
      <TrendLines trends={trends} />
      {device.instances.length > 0 ? (
        <ul className="kowalski-instances">
          {device.instances.map(instance => (
            <li key={instance.id}>
              <Instance instance={instance} />
            </li>
          ))}
        </ul>
      ) : (
        device.condition !== 'lost' && (
          <div className="kowalski-quiet">{trans.__('No model is loaded')}</div>
        )
      )}
    </div>
  );
}

function Memory({ device }: { device: IDevice }): React.JSX.Element | null {
  const { memory_total, memory_available, condition } = device;
  const trans = useTrans();
  if (!memory_total || memory_available === null || condition === 'lost') {
    return null;
  }
  const used = Math.max(0, memory_total - memory_available);
  return (
    <Meter
      name={trans.__('Memory')}
      share={used / memory_total}
      words={trans.__(
        '%1 of %2 GB',
        formatGigabytes(used),
        formatGigabytes(memory_total)
      )}
    />
  );
}

function TrendLines(props: {
  trends: ReadonlyMap<string, Trend>;
}): React.JSX.Element {
  const { trends } = props;
  const trans = useTrans();
  const percent = (value: number) => formatPercent(value);
  const lines = [
    {
      field: 'memory',
      name: trans.__('Memory in use'),
      say: percent,
      top: 1
    },
    { field: 'load', name: trans.__('Load'), say: percent, top: 1 },
    {
      field: 'in_flight',
      name: trans.__('Requests'),
      say: (value: number) => formatCount(Math.round(value)),
      top: 8
    }
  ];
  return (
    <div className="kowalski-trends">
      {lines.map(({ field, name, say, top }) => {
        const trend = trends.get(field) ?? [];
        const known = trend.filter(value => value !== null);
        const last = known.at(-1);
        return last === undefined ? null : (
          <figure key={field}>
            <figcaption className="kowalski-quiet">{name}</figcaption>
            <Sparkline
              trend={trend}
              top={top}
              label={trans.__(
                '%1 over the last ten minutes: from %2 to %3, now %4',
                name,
                say(Math.min(...known)),
                say(Math.max(...known)),
                say(last)
              )}
            />
          </figure>
        );
      })}
    </div>
  );
}

function Instance({ instance }: { instance: IInstance }): React.JSX.Element {
  const trans = useTrans();
  const look = instanceLook(instance, trans);
  const { ours, others, queued, devices, tokens_per_second } = instance;
  return (
    <>
      <div className="kowalski-model-name">{instance.model}</div>
      <div className="kowalski-status">
        <span className="kowalski-state">
          <StateMark mark={look.mark} />
          {look.word}
        </span>
        {devices.length > 1 && (
          <span>
            {trans._n('over %1 device', 'over %1 devices', devices.length)}
          </span>
        )}
        {ours > 0 && (
          <span>
            {trans._n('%1 request of ours', '%1 requests of ours', ours)}
          </span>
        )}
        {others > 0 && (
          <span>{trans._n('%1 of another', '%1 of others', others)}</span>
        )}
        {queued > 0 && (
          <span>{trans._n('%1 of them waits', '%1 of them wait', queued)}</span>
        )}
        {tokens_per_second !== null && (
          <span>{trans.__('%1 tokens/s', Math.round(tokens_per_second))}</span>
        )}
      </div>
    </>
  );
}

function deviceLook(device: IDevice, trans: TranslationBundle): IStateLook {
  switch (device.condition) {
    case 'ok':
      return { mark: 'good', word: trans.__('there') };
    case 'stale':
      return { mark: 'warning', word: trans.__('silent') };
    case 'unreachable':
      return { mark: 'warning', word: trans.__('not reachable from here') };
    case 'lost':
      return { mark: 'bad', word: trans.__('lost') };
  }
}

function instanceLook(
  instance: IInstance,
  trans: TranslationBundle
): IStateLook {
  switch (instance.state) {
    case 'ready':
      return { mark: 'good', word: trans.__('ready') };
    case 'waiting':
      return { mark: 'going', word: instance.detail || trans.__('not ready') };
    case 'failed':
      return { mark: 'bad', word: instance.detail || trans.__('failed') };
  }
}

/** What the device reports, in words; nothing for what it does not. */
function facts(device: IDevice, trans: TranslationBundle): string[] {
  const { load, temperature, power, round_trip, unheard, condition } = device;
  const found: string[] = [];
  if (load !== null && condition !== 'lost') {
    found.push(trans.__('load %1', formatPercent(load)));
  }
  if (temperature !== null && condition !== 'lost') {
    found.push(trans.__('%1 °C', Math.round(temperature)));
  }
  if (power !== null && condition !== 'lost') {
    found.push(trans.__('%1 W', Math.round(power)));
  }
  if (round_trip !== null) {
    found.push(trans.__('answers in %1', formatSeconds(round_trip, trans)));
  }
  if (unheard !== null && condition !== 'ok') {
    found.push(trans.__('last heard of %1 ago', formatSeconds(unheard, trans)));
  }
  if (device.limits.includes('memory')) {
    found.push(trans.__('small work only: short of memory'));
  }
  if (device.limits.includes('battery')) {
    found.push(trans.__('small work only: on battery'));
  }
  return found;
}
