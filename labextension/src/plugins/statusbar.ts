import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator } from '@jupyterlab/translation';
import { Poll } from '@lumino/polling';
import { Signal } from '@lumino/signaling';

import { isGoing } from '../run/document';
import { StatusItem } from '../statusitem';
import { CommandIDs, IMonitor } from '../tokens';
import { viewTools } from './tools';

/** How often the server is asked while the panel does not follow it, in ms. */
const INTERVAL_MS = 5_000;
const MAX_INTERVAL_MS = 60_000;

/** The number of runs that go on, in the status bar while there are any. */
export const statusBarPlugin: JupyterFrontEndPlugin<void> = {
  id: 'kowalski-jupyter:status-bar',
  description: 'Shows in the status bar how many Kowalski runs go on.',
  autoStart: true,
  requires: [IMonitor],
  optional: [IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    monitor: IMonitor,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ) => {
    if (statusBar === null) {
      return;
    }
    const item = new StatusItem(
      viewTools(translator, null, app.commands),
      () => {
        void app.commands.execute(CommandIDs.openPanel);
      }
    );
    const activeStateChanged = new Signal<StatusItem, void>(item);
    statusBar.registerStatusItem('kowalski-jupyter:status-bar', {
      item,
      align: 'left',
      rank: 20,
      isActive: () => item.going > 0,
      activeStateChanged
    });
    monitor.changed.connect(() => {
      const runs = monitor.status?.runs ?? [];
      item.going = runs.filter(
        ({ state, parent }) => isGoing(state) && parent === ''
      ).length;
      activeStateChanged.emit();
    });

    const poll = new Poll({
      factory: () => monitor.refresh(),
      frequency: { interval: INTERVAL_MS, max: MAX_INTERVAL_MS, backoff: true },
      name: 'kowalski-jupyter:status-bar',
      standby: 'when-hidden'
    });
    monitor.changed.connect(() => {
      // The server does not change its mind about that before it is restarted.
      if (monitor.connection === 'missing') {
        void poll.stop();
      }
    });
  }
};
