import React, { useEffect, useState } from 'react';

import { useTrans } from '../context';
import { Mark, StateMark } from '../mark';
import { IAlert, IDevice, Trends } from '../server/devices';
import { IMonitor } from '../tokens';
import { Command } from './command';
import { Device } from './device';

const TREND_SECONDS = 600;
const TREND_EVERY_MS = 10_000;

/** Alerts that are over are news for so long, in seconds. */
const NEWS_SECONDS = 600;

/** So many of those stand above the devices; the others can be opened. */
const NEWS_SHOWN = 2;

const MARKS: Record<IAlert['level'], Mark> = {
  info: 'good',
  warning: 'warning',
  error: 'bad'
};

/** The devices of the user's exo clusters, and what should be known about them. */
export function Devices(props: {
  devices: readonly IDevice[];
  alerts: readonly IAlert[];
  monitor: IMonitor;
}): React.JSX.Element {
  const { devices, alerts, monitor } = props;
  const trans = useTrans();
  const trends = useTrends(monitor, devices.length > 0);
  if (devices.length === 0) {
    return (
      <div className="kowalski-empty">
        <p>
          {trans.__(
            'No exo cluster was found. One that is started on this machine is found by itself; of others, tell one address:'
          )}
        </p>
        <Command text="c.Kowalski.devices = ['http://192.168.1.20:52415']" />
      </div>
    );
  }
  return (
    <>
      <Alerts alerts={alerts} received={monitor.received} />
      <ul className="kowalski-devices">
        {devices.map(device => (
          <li key={device.id}>
            <Device
              device={device}
              trends={trends.get(device.id) ?? new Map()}
            />
          </li>
        ))}
      </ul>
    </>
  );
}

/** What goes on, and what was over a little while ago. */
function Alerts(props: {
  alerts: readonly IAlert[];
  received: number;
}): React.JSX.Element {
  const { alerts, received } = props;
  const trans = useTrans();
  const going = alerts.filter(({ until }) => until === null);
  const over = alerts.filter(
    ({ until }) => until !== null && received / 1000 - until < NEWS_SECONDS
  );
  const earlier = over.slice(NEWS_SHOWN);
  return (
    <div role="log" aria-label={trans.__('Alerts about devices')}>
      <AlertList alerts={[...going, ...over.slice(0, NEWS_SHOWN)]} />
      {earlier.length > 0 && (
        <details className="kowalski-earlier">
          <summary>
            {trans._n('%1 earlier alert', '%1 earlier alerts', earlier.length)}
          </summary>
          <AlertList alerts={earlier} />
        </details>
      )}
    </div>
  );
}

function AlertList({
  alerts
}: {
  alerts: readonly IAlert[];
}): React.JSX.Element {
  const trans = useTrans();
  return (
    <ul className="kowalski-alerts">
      {alerts.map(alert => (
        <li key={`${alert.since} ${alert.text}`}>
          <StateMark mark={MARKS[alert.level]} />
          <span>
            {alert.text}
            {alert.until !== null && alert.until > alert.since && (
              <span className="kowalski-quiet"> {trans.__('(over)')}</span>
            )}
          </span>
          <time
            className="kowalski-number kowalski-quiet"
            dateTime={new Date(alert.since * 1000).toISOString()}
          >
            {new Date(alert.since * 1000).toLocaleTimeString()}
          </time>
        </li>
      ))}
    </ul>
  );
}

/** The trends of all devices, renewed while they are shown; the last ones where they cannot be had. */
function useTrends(monitor: IMonitor, wanted: boolean): Trends {
  const [trends, setTrends] = useState<Trends>(new Map());
  useEffect(() => {
    if (!wanted) {
      return;
    }
    let shown = true;
    const renew = async () => {
      if (monitor.connection !== 'open') {
        return;
      }
      try {
        const found = await monitor.trends(TREND_SECONDS);
        if (shown) {
          setTrends(found);
        }
      } catch {
        // The connection's own note tells of it.
      }
    };
    void renew();
    const timer = window.setInterval(() => void renew(), TREND_EVERY_MS);
    return () => {
      shown = false;
      window.clearInterval(timer);
    };
  }, [monitor, wanted]);
  return trends;
}
