import { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { Monitor } from '../model';
import { Api } from '../server/api';
import { IMonitor } from '../tokens';

/** Follows the server extension for the panel, the status bar and the commands. */
export const monitorPlugin: JupyterFrontEndPlugin<IMonitor> = {
  id: 'kowalski-jupyter:monitor',
  description: 'Follows the Kowalski server extension.',
  autoStart: true,
  provides: IMonitor,
  activate: app => new Monitor(new Api(app.serviceManager.serverSettings))
};
