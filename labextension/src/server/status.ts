/**
 * What the server extension tells, as `docs/run-format.md` defines it.
 *
 * It comes over the user's own authenticated connection from our own package, but
 * that package may be of another version and texts in it come from models.
 */
import { isGoing, RUN_STATES, RunState } from '../run/document';
import {
  isObject,
  JsonObject,
  readChoice,
  readFlag,
  readNumber,
  readObject,
  readObjects,
  readOptionalObject,
  readOptionalText,
  readText
} from '../run/reading';
import { IAlert, IDevice, readAlert, readDevice } from './devices';

export interface IStatus {
  /** The version of the Python package. */
  readonly version: string;
  /** Newest first. */
  readonly runs: readonly IRunSummary[];
  /** Null until a model was asked for. */
  readonly model: IModelStatus | null;
  readonly machine: IMachine;
  readonly devices: readonly IDevice[];
  /** Those that go on first, then the newest first. */
  readonly alerts: readonly IAlert[];
}

export interface IRunSummary {
  readonly id: string;
  /** The id of the run whose code asked for this one, or an empty string. */
  readonly parent: string;
  readonly question: string;
  readonly state: RunState;
  readonly error: string | null;
  readonly model: string | null;
  readonly turn: number;
  readonly max_turns: number;
  readonly subcalls: number;
  /** Seconds since the epoch. */
  readonly started: number;
  readonly seconds: number;
  /** One line. */
  readonly answer: string | null;
  /** Whether it has ended in such a way that it can be continued. */
  readonly resumable: boolean;
}

export const MODEL_STATES = ['ready', 'loading', 'none'] as const;

export interface IModelStatus {
  readonly name: string;
  readonly where: string;
  readonly state: (typeof MODEL_STATES)[number];
  readonly detail: string;
}

export interface IMachine {
  /** CPU use of the whole machine, 0 to 1. */
  readonly load: number;
  readonly cores: number;
  /** Bytes. */
  readonly memory_total: number;
  /** Bytes. */
  readonly memory_available: number;
}

/** Read a status; null if it is none. */
export function parseStatus(data: unknown): IStatus | null {
  if (!isObject(data) || !Array.isArray(data.runs)) {
    return null;
  }
  const machine = readObject(data.machine);
  return {
    version: readText(data.version),
    runs: readObjects(data.runs, readSummary),
    model: readOptionalObject(data.model, model => ({
      name: readText(model.name),
      where: readText(model.where),
      state: readChoice(model.state, MODEL_STATES, 'none'),
      detail: readText(model.detail)
    })),
    machine: {
      load: Math.min(readNumber(machine.load), 1),
      cores: readNumber(machine.cores),
      memory_total: readNumber(machine.memory_total),
      memory_available: readNumber(machine.memory_available)
    },
    devices: readObjects(data.devices, readDevice),
    alerts: readObjects(data.alerts, readAlert)
  };
}

function readSummary(run: JsonObject): IRunSummary {
  const state = readChoice(run.state, RUN_STATES, 'failed');
  return {
    id: readText(run.id),
    parent: readText(run.parent),
    question: readText(run.question),
    state,
    error: readOptionalText(run.error),
    model: readOptionalText(run.model),
    turn: readNumber(run.turn),
    max_turns: readNumber(run.max_turns),
    subcalls: readNumber(run.subcalls),
    started: readNumber(run.started),
    seconds: readNumber(run.seconds),
    answer: readOptionalText(run.answer),
    resumable: readFlag(run.resumable) && !isGoing(state)
  };
}
