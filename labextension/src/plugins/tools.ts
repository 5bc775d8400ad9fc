import { JupyterFrontEnd } from '@jupyterlab/application';
import { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Highlight, IViewTools, TRANSLATION_DOMAIN } from '../context';
import { CommandIDs } from '../tokens';

/** What views need, from those of the application's services that are there. */
export function viewTools(
  translator: ITranslator | null,
  languages: IEditorLanguageRegistry | null,
  commands: JupyterFrontEnd['commands']
): IViewTools {
  return {
    trans: (translator ?? nullTranslator).load(TRANSLATION_DOMAIN),
    highlight: languages && highlightWith(languages),
    // Asked when a view is shown: the panel may be disabled, or not be there yet.
    get openRun() {
      return commands.hasCommand(CommandIDs.openPanel)
        ? (run: string) => {
            void commands.execute(CommandIDs.openPanel, { run });
          }
        : null;
    }
  };
}

function highlightWith(languages: IEditorLanguageRegistry): Highlight {
  return async (code, language, host) => {
    await languages.highlight(code, languages.findBest(language), host);
  };
}
