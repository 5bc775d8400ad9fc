import { Token } from '@lumino/coreutils';
import { IDisposable } from '@lumino/disposable';
import { ISignal } from '@lumino/signaling';

import { IRun } from './run/document';
import { Steering } from './server/api';
import { Trends } from './server/devices';
import { IStatus } from './server/status';

export namespace CommandIDs {
  export const openPanel = 'kowalski:open-panel';
  export const cancelRun = 'kowalski:cancel-run';
}

/**
 * How the monitor stands with the server extension.
 *
 * `idle`: nobody watches. `missing`: this Jupyter server has no Kowalski extension.
 * `lost`: it was or may be there, but does not answer; tried again by itself.
 */
export type Connection = 'idle' | 'connecting' | 'open' | 'lost' | 'missing';

/** What the server extension tells about runs, the model, the machine and the devices. */
export interface IMonitor {
  readonly connection: Connection;
  /** The newest status; kept when the connection is lost. */
  readonly status: IStatus | null;
  /** When the status came, in milliseconds as of `Date.now()`. */
  readonly received: number;
  /** Emitted when any of the above changed. */
  readonly changed: ISignal<IMonitor, void>;
  /** Keep the status current until the returned object is disposed. */
  watch(): IDisposable;
  /** Ask for the status once; a failure shows in `connection`, and rejects. */
  refresh(): Promise<void>;
  /** Fetch one run in full. */
  run(id: string): Promise<IRun>;
  /** Fetch how the devices were over the last `seconds`. */
  trends(seconds: number): Promise<Trends>;
  /** Cancel a run that is going on. */
  cancel(id: string): Promise<void>;
  /** Steer a run that is going on; a refusal's message is for the user. */
  steer(id: string, steering: Steering): Promise<void>;
}

export const IMonitor = new Token<IMonitor>(
  'kowalski-jupyter:IMonitor',
  'What the Kowalski server extension tells about runs, the model, the machine and the devices.'
);
