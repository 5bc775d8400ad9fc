import {
  ILayoutRestorer,
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import { ITranslator } from '@jupyterlab/translation';

import { Panel } from '../panel/panel';
import { CommandIDs, IMonitor } from '../tokens';
import { viewTools } from './tools';

/** After the tabs that JupyterLab itself puts on the right. */
const RANK = 700;

/** The side panel, and the command that opens it. */
export const panelPlugin: JupyterFrontEndPlugin<void> = {
  id: 'kowalski-jupyter:panel',
  description:
    'Shows Kowalski runs, the model and this machine in a side panel.',
  autoStart: true,
  requires: [IMonitor],
  optional: [
    ITranslator,
    IEditorLanguageRegistry,
    ILayoutRestorer,
    ICommandPalette
  ],
  activate: (
    app: JupyterFrontEnd,
    monitor: IMonitor,
    translator: ITranslator | null,
    languages: IEditorLanguageRegistry | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null
  ) => {
    const tools = viewTools(translator, languages, app.commands);
    const { trans } = tools;
    const panel = new Panel(monitor, tools);
    app.shell.add(panel, 'right', { rank: RANK, type: 'Kowalski' });
    restorer?.add(panel, panel.id);

    app.commands.addCommand(CommandIDs.openPanel, {
      label: trans.__('Show Kowalski Runs'),
      caption: trans.__('Show runs, the model and this machine'),
      describedBy: {
        args: {
          type: 'object',
          properties: {
            run: {
              type: 'string',
              description: trans.__('The id of a run to show in full')
            }
          }
        }
      },
      execute: ({ run }) => {
        app.shell.activateById(panel.id);
        if (typeof run === 'string') {
          panel.showRun(run);
        }
      }
    });
    palette?.addItem({
      command: CommandIDs.openPanel,
      category: trans.__('Kowalski')
    });
  }
};
