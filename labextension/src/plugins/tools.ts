import { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Highlight, IViewTools, TRANSLATION_DOMAIN } from '../context';

/** What views need, from those of the application's services that are there. */
export function viewTools(
  translator: ITranslator | null,
  languages: IEditorLanguageRegistry | null
): IViewTools {
  return {
    trans: (translator ?? nullTranslator).load(TRANSLATION_DOMAIN),
    highlight: languages && highlightWith(languages)
  };
}

function highlightWith(languages: IEditorLanguageRegistry): Highlight {
  return async (code, language, host) => {
    await languages.highlight(code, languages.findBest(language), host);
  };
}
