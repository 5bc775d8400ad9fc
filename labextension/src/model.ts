import { ServerConnection } from '@jupyterlab/services';
import { DisposableDelegate, IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { IRun } from './run/document';
import { Api, Steering } from './server/api';
import { Trends } from './server/devices';
import { IStatus, parseStatus } from './server/status';
import { Connection, IMonitor } from './tokens';

/** Pauses before another attempt to connect, in milliseconds; the last repeats. */
const RETRY_MS = [1_000, 2_000, 5_000, 10_000, 30_000];

/**
 * Follows the server extension while somebody watches and the page is visible.
 *
 * Each connection has a number: whatever arrives for an older one is dropped.
 */
export class Monitor implements IMonitor, IDisposable {
  constructor(private readonly _api: Api) {
    document.addEventListener('visibilitychange', this._adjust);
  }

  get connection(): Connection {
    return this._connection;
  }

  get status(): IStatus | null {
    return this._status;
  }

  get received(): number {
    return this._received;
  }

  get changed(): ISignal<IMonitor, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  watch(): IDisposable {
    this._watchers += 1;
    this._adjust();
    return new DisposableDelegate(() => {
      this._watchers -= 1;
      this._adjust();
    });
  }

  async refresh(): Promise<void> {
    if (this._connection === 'open') {
      return;
    }
    const attempt = this._attempt;
    try {
      const status = await this._api.status();
      if (attempt === this._attempt) {
        if (!this._wanted) {
          this._connection = 'idle';
        }
        this._take(status);
      }
    } catch (reason) {
      if (attempt === this._attempt) {
        this._set(isMissing(reason) ? 'missing' : 'lost');
      }
      throw reason;
    }
  }

  run(id: string): Promise<IRun> {
    return this._api.run(id);
  }

  trends(seconds: number): Promise<Trends> {
    return this._api.trends(seconds);
  }

  cancel(id: string): Promise<void> {
    return this._api.cancel(id);
  }

  steer(id: string, steering: Steering): Promise<void> {
    return this._api.steer(id, steering);
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    document.removeEventListener('visibilitychange', this._adjust);
    this._close();
    Signal.clearData(this);
  }

  /** Connect or disconnect, as watchers and the page's visibility demand. */
  private readonly _adjust = (): void => {
    const wanted = !this._isDisposed && this._watchers > 0 && !document.hidden;
    if (wanted && !this._wanted) {
      this._wanted = true;
      this._failures = 0;
      void this._connect();
    } else if (!wanted && this._wanted) {
      this._close();
      this._set('idle');
    }
  };

  private async _connect(): Promise<void> {
    const attempt = ++this._attempt;
    if (this._connection === 'idle') {
      this._set('connecting');
    }
    try {
      // Asked first, since a websocket does not tell why it was refused.
      const status = await this._api.status();
      if (attempt !== this._attempt) {
        return;
      }
      this._take(status);
    } catch (reason) {
      if (attempt === this._attempt) {
        this._retry(isMissing(reason) ? 'missing' : 'lost');
      }
      return;
    }
    const socket = this._api.openEvents();
    this._socket = socket;
    socket.onmessage = event => {
      if (attempt === this._attempt) {
        this._failures = 0;
        this._connection = 'open';
        this._take(parseMessage(event.data));
      }
    };
    socket.onclose = () => {
      if (attempt === this._attempt) {
        this._retry('lost');
      }
    };
  }

  private _retry(connection: Connection): void {
    this._set(connection);
    const pause = RETRY_MS[Math.min(this._failures, RETRY_MS.length - 1)];
    this._failures += 1;
    this._timer = window.setTimeout(() => void this._connect(), pause);
  }

  private _close(): void {
    this._wanted = false;
    this._attempt += 1;
    window.clearTimeout(this._timer);
    this._socket?.close();
    this._socket = null;
  }

  private _take(status: IStatus | null): void {
    if (status !== null) {
      this._status = status;
      this._received = Date.now();
    }
    this._changed.emit();
  }

  private _set(connection: Connection): void {
    if (connection !== this._connection) {
      this._connection = connection;
      this._changed.emit();
    }
  }

  private readonly _changed = new Signal<IMonitor, void>(this);
  private _connection: Connection = 'idle';
  private _status: IStatus | null = null;
  private _received = 0;
  private _isDisposed = false;
  private _watchers = 0;
  private _wanted = false;
  private _attempt = 0;
  private _failures = 0;
  private _timer = 0;
  private _socket: WebSocket | null = null;
}

function isMissing(reason: unknown): boolean {
  return (
    reason instanceof ServerConnection.ResponseError &&
    reason.response.status === 404
  );
}

function parseMessage(data: unknown): IStatus | null {
  try {
    return typeof data === 'string' ? parseStatus(JSON.parse(data)) : null;
  } catch {
    return null;
  }
}
