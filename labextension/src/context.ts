import { nullTranslator, TranslationBundle } from '@jupyterlab/translation';
import { createContext, useContext } from 'react';

/** The gettext domain of all strings: the Python package's name. */
export const TRANSLATION_DOMAIN = 'kowalski_jupyter';

/** Fills `host`, which is empty, with `code` coloured as `language`. */
export type Highlight = (
  code: string,
  language: string,
  host: HTMLElement
) => Promise<void>;

/** What every view needs from the application. */
export interface IViewTools {
  readonly trans: TranslationBundle;
  /** Null where the application has no code editor: code is shown plain. */
  readonly highlight: Highlight | null;
  /** Shows a run in full; null where nothing can. */
  readonly openRun: ((id: string) => void) | null;
}

export const ViewTools = createContext<IViewTools>({
  trans: nullTranslator.load(TRANSLATION_DOMAIN),
  highlight: null,
  openRun: null
});

export function useTrans(): TranslationBundle {
  return useContext(ViewTools).trans;
}
