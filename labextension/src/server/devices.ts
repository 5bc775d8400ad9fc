/** The devices of the user's exo clusters, as `docs/run-format.md` defines them. */
import {
  isObject,
  JsonObject,
  readChoice,
  readNumber,
  readObject,
  readObjects,
  readOptionalNumber,
  readText,
  readTexts
} from '../run/reading';

export const CONDITIONS = ['ok', 'stale', 'unreachable', 'lost'] as const;

export interface IDevice {
  readonly id: string;
  readonly name: string;
  /** Of the machine and of its chip; may be empty. */
  readonly model: string;
  readonly chip: string;
  readonly condition: (typeof CONDITIONS)[number];
  /** Bytes; null, here and below, where the device does not report it. */
  readonly memory_total: number | null;
  readonly memory_available: number | null;
  /** Use of the busier of processor and GPU, 0 to 1. */
  readonly load: number | null;
  /** Degrees Celsius. */
  readonly temperature: number | null;
  /** Watts. */
  readonly power: number | null;
  /** Seconds for a small question. */
  readonly round_trip: number | null;
  /** Seconds since its cluster heard of it. */
  readonly unheard: number | null;
  /** Why it gets small work only. */
  readonly limits: readonly string[];
  readonly instances: readonly IInstance[];
}

/** One model, loaded over one or more devices. */
export interface IInstance {
  readonly id: string;
  readonly model: string;
  readonly state: (typeof INSTANCE_STATES)[number];
  /** Why it is not ready. */
  readonly detail: string;
  /** Names of all devices that it is on. */
  readonly devices: readonly string[];
  /** Requests that it has. */
  readonly ours: number;
  readonly others: number;
  /** Of these wait. */
  readonly queued: number;
  readonly tokens_per_second: number | null;
}

export const INSTANCE_STATES = ['ready', 'waiting', 'failed'] as const;

export interface IAlert {
  readonly level: (typeof LEVELS)[number];
  readonly text: string;
  /** Seconds since the epoch. */
  readonly since: number;
  /** Null while it goes on. */
  readonly until: number | null;
}

export const LEVELS = ['info', 'warning', 'error'] as const;

/** What is kept of how a device was, oldest first; null where nothing is known. */
export type Trend = readonly (number | null)[];

/** By device and by field. */
export type Trends = ReadonlyMap<string, ReadonlyMap<string, Trend>>;

export function readDevice(device: JsonObject): IDevice {
  return {
    id: readText(device.id),
    name: readText(device.name),
    model: readText(device.model),
    chip: readText(device.chip),
    condition: readChoice(device.condition, CONDITIONS, 'lost'),
    memory_total: readOptionalNumber(device.memory_total),
    memory_available: readOptionalNumber(device.memory_available),
    load: readOptionalNumber(device.load),
    temperature: readOptionalNumber(device.temperature),
    power: readOptionalNumber(device.power),
    round_trip: readOptionalNumber(device.round_trip),
    unheard: readOptionalNumber(device.unheard),
    limits: readTexts(device.limits),
    instances: readObjects(device.instances, readInstance)
  };
}

function readInstance(instance: JsonObject): IInstance {
  return {
    id: readText(instance.id),
    model: readText(instance.model),
    state: readChoice(instance.state, INSTANCE_STATES, 'waiting'),
    detail: readText(instance.detail),
    devices: readTexts(instance.devices),
    ours: readNumber(instance.ours),
    others: readNumber(instance.others),
    queued: readNumber(instance.queued),
    tokens_per_second: readOptionalNumber(instance.tokens_per_second)
  };
}

export function readAlert(alert: JsonObject): IAlert {
  return {
    level: readChoice(alert.level, LEVELS, 'info'),
    text: readText(alert.text),
    since: readNumber(alert.since),
    until: readOptionalNumber(alert.until)
  };
}

/** Read trends; what is no trend is left out. */
export function parseTrends(data: unknown): Trends {
  return new Map(
    Object.entries(readObject(data))
      .filter(([, fields]) => isObject(fields))
      .map(([device, fields]) => [device, readFields(readObject(fields))])
  );
}

function readFields(fields: JsonObject): ReadonlyMap<string, Trend> {
  return new Map(
    Object.entries(fields).map(([field, values]) => [
      field,
      Array.isArray(values) ? values.map(readOptionalNumber) : []
    ])
  );
}
