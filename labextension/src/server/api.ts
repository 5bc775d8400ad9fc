import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { IRun } from '../run/document';
import { isUnreadable, parseRun } from '../run/parse';
import { IStatus, parseStatus } from './status';

const API = 'kowalski/api';

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

  /** Cancel a run that is going on; throws as `status` does. */
  async cancel(id: string): Promise<void> {
    await this._request(`runs/${encodeURIComponent(id)}/cancel`, {
      method: 'POST'
    });
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
    const response = await ServerConnection.makeRequest(
      URLExt.join(this._settings.baseUrl, API, path),
      init,
      this._settings
    );
    if (!response.ok) {
      throw await ServerConnection.ResponseError.create(response);
    }
    return response;
  }
}
