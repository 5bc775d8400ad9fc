import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { IRun } from '../run/document';
import { isUnreadable, parseRun } from '../run/parse';
import { isObject } from '../run/reading';
import { parseTrends, Trends } from './devices';
import { IStatus, parseStatus } from './status';

const API = 'kowalski/api';

/** What the user wants of a run that goes on. */
export type Steering =
  | { readonly tell: string }
  | { readonly limits: Readonly<Partial<Record<Limit, number>>> }
  | {
      readonly decide: 'run' | 'edit' | 'skip';
      /** The cell that waits, such as `2.1`. */
      readonly cell: string;
      /** What to run instead; empty unless it is an edit. */
      readonly code: string;
    };

/** The limits that can be raised here: turns, and seconds in all. */
export type Limit = 'max_turns' | 'max_seconds';

/** The endpoints of the server extension, behind Jupyter's own login. */
export class Api {
  constructor(private readonly _settings: ServerConnection.ISettings) {}

  /**
   * @throws ServerConnection.NetworkError if the server cannot be reached.
   * @throws ServerConnection.ResponseError if it refuses, with status 404 where
   *   the server extension is not loaded.
   */
  async status(): Promise<IStatus> {
    const status = parseStatus(await this._json('status'));
    if (status === null) {
      throw new Error('The server sent a status that cannot be read.');
    }
    return status;
  }

  /** One run in full; throws as `status` does. */
  async run(id: string): Promise<IRun> {
    const run = parseRun(await this._json(`runs/${encodeURIComponent(id)}`));
    if (isUnreadable(run)) {
      throw new Error('The server sent a run that cannot be read.');
    }
    return run;
  }

  /** How the devices were over the last `seconds`; throws as `status` does. */
  async trends(seconds: number): Promise<Trends> {
    return parseTrends(await this._json(`devices/trends?seconds=${seconds}`));
  }

  /** Cancel a run that is going on; throws as `status` does. */
  async cancel(id: string): Promise<void> {
    await this._request(`runs/${encodeURIComponent(id)}/cancel`, {
      method: 'POST'
    });
  }

  /**
   * Steer a run that is going on; throws as `status` does.
   *
   * @throws Error with words for the user if the run cannot do that now.
   */
  async steer(id: string, steering: Steering): Promise<void> {
    const response = await this._ask(`runs/${encodeURIComponent(id)}/steer`, {
      method: 'POST',
      body: JSON.stringify(steering)
    });
    if (response.status === 400) {
      const said: unknown = await response.json();
      if (isObject(said) && typeof said.error === 'string') {
        throw new Error(said.error);
      }
    }
    if (!response.ok) {
      throw await ServerConnection.ResponseError.create(response);
    }
  }

  /** A websocket on which the server sends its status whenever it changed. */
  openEvents(): WebSocket {
    const { wsUrl, token, appendToken, WebSocket } = this._settings;
    const query =
      appendToken && token !== '' ? `?token=${encodeURIComponent(token)}` : '';
    return new WebSocket(URLExt.join(wsUrl, API, 'events') + query);
  }

  private async _json(path: string): Promise<unknown> {
    const response = await this._request(path, {});
    return response.json();
  }

  private async _request(path: string, init: RequestInit): Promise<Response> {
    const response = await this._ask(path, init);
    if (!response.ok) {
      throw await ServerConnection.ResponseError.create(response);
    }
    return response;
  }

  private _ask(path: string, init: RequestInit): Promise<Response> {
    return ServerConnection.makeRequest(
      URLExt.join(this._settings.baseUrl, API, path),
      init,
      this._settings
    );
  }
}
