import { TranslationBundle } from '@jupyterlab/translation';

import { Mark } from '../mark';
import {
  CellState,
  IApproval,
  ICell,
  RunState,
  SubcallState,
  TurnState
} from './document';

/** How a state is told: a drawing and a word, never a colour alone. */
export interface IStateLook {
  readonly mark: Mark;
  readonly word: string;
}

/** How a run stands, given its state and, where known, what waits for the user. */
export function runLook(
  run: { readonly state: RunState; readonly approval?: IApproval | null },
  trans: TranslationBundle
): IStateLook {
  if ((run.approval ?? null) !== null) {
    return { mark: 'waiting', word: trans.__('Waits for you') };
  }
  switch (run.state) {
    case 'starting':
      return { mark: 'going', word: trans.__('Starting') };
    case 'running':
      return { mark: 'going', word: trans.__('Running') };
    case 'done':
      return { mark: 'good', word: trans.__('Done') };
    case 'failed':
      return { mark: 'bad', word: trans.__('Failed') };
    case 'cancelled':
      return { mark: 'stopped', word: trans.__('Cancelled') };
  }
}

/** How a turn and a cell stand while code waits for the user's word. */
export function waitingLook(trans: TranslationBundle): IStateLook {
  return { mark: 'waiting', word: trans.__('waits for you') };
}

const FAILED: readonly CellState[] = ['error', 'timeout', 'died'];

/** How a turn stands; one that is over is told by how its cells ended. */
export function turnLook(
  state: TurnState,
  cells: readonly ICell[],
  trans: TranslationBundle
): IStateLook {
  switch (state) {
    case 'thinking':
      return { mark: 'going', word: trans.__('the model writes') };
    case 'running':
      return { mark: 'going', word: trans.__('code runs') };
    case 'done':
      if (cells.some(cell => cell.state === 'interrupted')) {
        return { mark: 'stopped', word: trans.__('interrupted') };
      }
      return cells.some(cell => FAILED.includes(cell.state))
        ? { mark: 'bad', word: trans.__('done, with an error') }
        : { mark: 'good', word: trans.__('done') };
  }
}

export function cellLook(
  state: CellState,
  trans: TranslationBundle
): IStateLook {
  switch (state) {
    case 'writing':
      return { mark: 'going', word: trans.__('being written') };
    case 'waiting':
      return { mark: 'waiting', word: trans.__('waiting') };
    case 'running':
      return { mark: 'going', word: trans.__('running') };
    case 'ok':
      return { mark: 'good', word: trans.__('ok') };
    case 'error':
      return { mark: 'bad', word: trans.__('error') };
    case 'final':
      return { mark: 'good', word: trans.__('gave the answer') };
    case 'timeout':
      return { mark: 'bad', word: trans.__('took too long') };
    case 'died':
      return { mark: 'bad', word: trans.__('kernel died') };
    case 'interrupted':
      return { mark: 'stopped', word: trans.__('interrupted') };
    case 'skipped':
      return { mark: 'skipped', word: trans.__('skipped') };
  }
}

export function subcallLook(
  state: SubcallState,
  trans: TranslationBundle
): IStateLook {
  switch (state) {
    case 'waiting':
      return { mark: 'waiting', word: trans.__('waiting') };
    case 'running':
      return { mark: 'going', word: trans.__('running') };
    case 'ok':
      return { mark: 'good', word: trans.__('ok') };
    case 'error':
      return { mark: 'bad', word: trans.__('failed') };
  }
}
