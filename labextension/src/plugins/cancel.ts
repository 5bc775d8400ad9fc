import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { TRANSLATION_DOMAIN } from '../context';
import { firstLine } from '../format';
import { isGoing } from '../run/document';
import { CommandIDs, IMonitor } from '../tokens';

/** The command that cancels the newest run that goes on. */
export const cancelPlugin: JupyterFrontEndPlugin<void> = {
  id: 'kowalski-jupyter:cancel',
  description: 'Adds a command that cancels the newest Kowalski run.',
  autoStart: true,
  requires: [IMonitor],
  optional: [ITranslator, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    monitor: IMonitor,
    translator: ITranslator | null,
    palette: ICommandPalette | null
  ) => {
    const trans = (translator ?? nullTranslator).load(TRANSLATION_DOMAIN);
    const cancelNewest = async () => {
      await monitor.refresh();
      // A child run ends with the run that asked for it.
      const run = monitor.status?.runs.find(
        ({ state, parent }) => isGoing(state) && parent === ''
      );
      if (run === undefined) {
        Notification.info(trans.__('No Kowalski run is going on.'));
        return;
      }
      await monitor.cancel(run.id);
      Notification.info(
        trans.__('Cancelled the run “%1”.', firstLine(run.question)),
        { autoClose: 3000 }
      );
    };
    app.commands.addCommand(CommandIDs.cancelRun, {
      label: trans.__('Cancel the Newest Kowalski Run'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: async () => {
        try {
          await cancelNewest();
        } catch (reason) {
          Notification.error(
            trans.__('No run was cancelled: %1', String(reason))
          );
        }
      }
    });
    palette?.addItem({
      command: CommandIDs.cancelRun,
      category: trans.__('Kowalski')
    });
  }
};
