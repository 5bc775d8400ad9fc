/**
 * The run document, as `docs/run-format.md` defines it.
 */

/** The MIME type of a run document in a cell's output. */
export const RUN_MIME_TYPE = 'application/vnd.kowalski.run+json';

/** The version of the run document that this front end reads. */
export const RUN_VERSION = 1;

export const RUN_STATES = [
  'starting',
  'running',
  'done',
  'failed',
  'cancelled'
] as const;
export type RunState = (typeof RUN_STATES)[number];

export const TURN_STATES = ['thinking', 'running', 'done'] as const;
export type TurnState = (typeof TURN_STATES)[number];

export const CELL_STATES = [
  'writing',
  'waiting',
  'running',
  'ok',
  'error',
  'final',
  'timeout',
  'died',
  'interrupted',
  'skipped'
] as const;
export type CellState = (typeof CELL_STATES)[number];

export const SUBCALL_STATES = ['waiting', 'running', 'ok', 'error'] as const;
export type SubcallState = (typeof SUBCALL_STATES)[number];

export const OUTPUT_KINDS = [
  'stdout',
  'stderr',
  'result',
  'display',
  'error'
] as const;
export type OutputKind = (typeof OUTPUT_KINDS)[number];

/** One question, from asking to answer. */
export interface IRun {
  readonly id: string;
  readonly question: string;
  readonly state: RunState;
  /** The id of the run whose code asked for this one, or an empty string. */
  readonly parent: string;
  /** The id of the run that this one goes on from or replays, or an empty string. */
  readonly origin: string;
  /** What happened and what to do next; null unless the run failed. */
  readonly error: string | null;
  readonly model: IModel | null;
  readonly host: string;
  readonly sandbox: string | null;
  readonly data: readonly IData[];
  /** Seconds since the epoch. */
  readonly started: number;
  /** Seconds so far, or in all. */
  readonly seconds: number;
  readonly limits: { readonly turns: number; readonly seconds: number };
  readonly usage: IUsage;
  readonly notices: readonly string[];
  readonly progress: IProgress | null;
  readonly turns: readonly ITurn[];
  readonly answer: IAnswer | null;
  readonly approval: IApproval | null;
}

export interface IModel {
  readonly name: string;
  /** Where it runs, in words. */
  readonly where: string;
}

export interface IData {
  readonly name: string;
  readonly type: string;
  readonly summary: string;
}

export interface IUsage {
  readonly turns: number;
  readonly subcalls: number;
  /** Answered or failed; the rest goes on or waits. */
  readonly subcalls_finished: number;
  readonly subcalls_failed: number;
  /** Answered without asking a model again. */
  readonly subcalls_remembered: number;
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
}

export interface IProgress {
  readonly text: string;
  readonly done: number | null;
  readonly total: number | null;
}

export interface IAnswer {
  readonly type: string;
  readonly text: string;
  /** Whether it is only the best there was when a limit ended the run. */
  readonly partial: boolean;
  /** The picture that it is, if it is one. */
  readonly rich: IRich | null;
}

/** A block of code that waits for the user's word. */
export interface IApproval {
  readonly cell: string;
  readonly language: string;
  readonly code: string;
}

/** One reply of the root model and what came of it. */
export interface ITurn {
  readonly number: number;
  readonly state: TurnState;
  readonly seconds: number;
  readonly reasoning: string;
  readonly parts: readonly (IProse | ICell)[];
  /** What the model was told about a reply that could not be used. */
  readonly feedback: string | null;
  readonly fold: IFold | null;
}

/** What the turns before a turn were folded to. */
export interface IFold {
  /** Up to this turn, the chat was folded. */
  readonly turns: number;
  /** By the model. */
  readonly summary: string;
  /** Facts that the summary lacked and that were added to it. */
  readonly kept: readonly string[];
  readonly seconds: number;
}

export interface IProse {
  readonly kind: 'prose';
  readonly text: string;
}

/** Code that the model wrote, and what it gave. */
export interface ICell {
  readonly kind: 'cell';
  /** `turn.cell`, such as `1.1`. */
  readonly id: string;
  readonly language: string;
  readonly code: string;
  readonly state: CellState;
  readonly seconds: number | null;
  readonly outputs: readonly IOutput[];
  readonly subcalls: readonly ISubcall[];
  /** How many there were; the document holds at most the first and last 50. */
  readonly subcalls_total: number;
}

export interface IOutput {
  readonly kind: OutputKind;
  readonly text: string;
  /** The number of characters before the text was cut. */
  readonly length: number;
  /** What is shown in the text's place. */
  readonly rich: IRich | null;
}

export const RICH_MIME_TYPES = [
  'image/png',
  'image/jpeg',
  'image/svg+xml',
  'text/html'
] as const;

/** A picture or a table. */
export interface IRich {
  readonly mime: (typeof RICH_MIME_TYPES)[number];
  /** Base64, but for HTML. */
  readonly data: string;
}

/** A call of a model from inside a cell. */
export interface ISubcall {
  readonly id: number;
  readonly state: SubcallState;
  readonly model: string;
  readonly prompt: string;
  readonly reply: string;
  readonly seconds: number | null;
  /** The id of the child run that answers, or an empty string. */
  readonly run: string;
  /** Whether the reply was known from an equal call. */
  readonly remembered: boolean;
}

/** Whether a run in this state can still change. */
export function isGoing(state: RunState): boolean {
  return state === 'starting' || state === 'running';
}
