import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ITranslator } from '@jupyterlab/translation';

import { RunRenderer } from '../renderer';
import { RUN_MIME_TYPE } from '../run/document';
import { viewTools } from './tools';

/** Shows runs in cell outputs. */
export const rendererPlugin: JupyterFrontEndPlugin<void> = {
  id: 'kowalski-jupyter:renderer',
  description: 'Shows Kowalski runs in cell outputs as a live tree.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [ITranslator, IEditorLanguageRegistry],
  activate: (
    app: JupyterFrontEnd,
    rendermime: IRenderMimeRegistry,
    translator: ITranslator | null,
    languages: IEditorLanguageRegistry | null
  ) => {
    const tools = viewTools(translator, languages, app.commands);
    rendermime.addFactory(
      {
        // Nothing of the data runs or fetches anything, so untrusted notebooks may use it too.
        safe: true,
        mimeTypes: [RUN_MIME_TYPE],
        createRenderer: () => new RunRenderer(tools)
      },
      0
    );
  }
};
