import {
  CELL_STATES,
  ICell,
  IOutput,
  IProse,
  IRich,
  IRun,
  ISubcall,
  isGoing,
  ITurn,
  OUTPUT_KINDS,
  RICH_MIME_TYPES,
  RUN_STATES,
  RUN_VERSION,
  SUBCALL_STATES,
  TURN_STATES
} from './document';
import {
  isObject,
  JsonObject,
  readChoice,
  readFlag,
  readNumber,
  readObject,
  readObjects,
  readOptionalNumber,
  readOptionalObject,
  readOptionalText,
  readText,
  readTexts
} from './reading';

/** Why a document cannot be shown. */
export type Unreadable =
  | { readonly kind: 'not-a-run' }
  | { readonly kind: 'unknown-version'; readonly version: string };

/** Read a run document of unknown origin; never throws. */
export function parseRun(data: unknown): IRun | Unreadable {
  if (!isObject(data)) {
    return { kind: 'not-a-run' };
  }
  if (data.version !== RUN_VERSION) {
    return typeof data.version === 'number'
      ? { kind: 'unknown-version', version: String(data.version) }
      : { kind: 'not-a-run' };
  }
  if (
    typeof data.id !== 'string' ||
    !RUN_STATES.some(state => state === data.state)
  ) {
    return { kind: 'not-a-run' };
  }
  return readRun(data);
}

export function isUnreadable(run: IRun | Unreadable): run is Unreadable {
  return 'kind' in run;
}

function readRun(data: JsonObject): IRun {
  const limits = readObject(data.limits);
  const usage = readObject(data.usage);
  const state = readChoice(data.state, RUN_STATES, 'failed');
  return {
    id: readText(data.id),
    question: readText(data.question),
    state,
    parent: readText(data.parent),
    origin: readText(data.origin),
    error: readOptionalText(data.error),
    model: readOptionalObject(data.model, model => ({
      name: readText(model.name),
      where: readText(model.where)
    })),
    host: readText(data.host),
    sandbox: readOptionalText(data.sandbox),
    data: readObjects(data.data, item => ({
      name: readText(item.name),
      type: readText(item.type),
      summary: readText(item.summary)
    })),
    started: readNumber(data.started),
    seconds: readNumber(data.seconds),
    limits: {
      turns: readNumber(limits.turns),
      seconds: readNumber(limits.seconds)
    },
    usage: {
      turns: readNumber(usage.turns),
      subcalls: readNumber(usage.subcalls),
      subcalls_finished:
        readOptionalNumber(usage.subcalls_finished) ??
        readNumber(usage.subcalls),
      subcalls_failed: readNumber(usage.subcalls_failed),
      subcalls_remembered: readNumber(usage.subcalls_remembered),
      prompt_tokens: readNumber(usage.prompt_tokens),
      completion_tokens: readNumber(usage.completion_tokens)
    },
    notices: readTexts(data.notices),
    progress: readOptionalObject(data.progress, progress => ({
      text: readText(progress.text),
      done: readOptionalNumber(progress.done),
      total: readOptionalNumber(progress.total)
    })),
    turns: readObjects(data.turns, readTurn),
    answer: readOptionalObject(data.answer, answer => ({
      type: readText(answer.type),
      text: readText(answer.text),
      partial: readFlag(answer.partial),
      rich: readRich(answer.rich)
    })),
    // Of a run that has ended nothing waits.
    approval: isGoing(state)
      ? readOptionalObject(data.approval, approval => ({
          cell: readText(approval.cell),
          language: readText(approval.language),
          code: readText(approval.code)
        }))
      : null
  };
}

function readTurn(turn: JsonObject): ITurn {
  return {
    number: readNumber(turn.number),
    state: readChoice(turn.state, TURN_STATES, 'done'),
    seconds: readNumber(turn.seconds),
    reasoning: readText(turn.reasoning),
    parts: readObjects(turn.parts, readPart),
    feedback: readOptionalText(turn.feedback),
    fold: readOptionalObject(turn.fold, fold => ({
      turns: readNumber(fold.turns),
      summary: readText(fold.summary),
      kept: readTexts(fold.kept),
      seconds: readNumber(fold.seconds)
    }))
  };
}

function readPart(part: JsonObject): IProse | ICell {
  if (part.kind !== 'cell') {
    return { kind: 'prose', text: readText(part.text) };
  }
  const subcalls = readSubcalls(part.subcalls);
  return {
    kind: 'cell',
    id: readText(part.id),
    language: readText(part.language),
    code: readText(part.code),
    state: readChoice(part.state, CELL_STATES, 'skipped'),
    seconds: readOptionalNumber(part.seconds),
    outputs: readObjects(part.outputs, readOutput),
    subcalls,
    subcalls_total: Math.max(readNumber(part.subcalls_total), subcalls.length)
  };
}

function readOutput(output: JsonObject): IOutput {
  return {
    kind: readChoice(output.kind, OUTPUT_KINDS, 'display'),
    text: readText(output.text),
    length: readNumber(output.length),
    rich: readRich(output.rich)
  };
}

/** A picture or table; null where there is none of a kind that can be shown. */
function readRich(value: unknown): IRich | null {
  const { mime, data } = readObject(value);
  const known = RICH_MIME_TYPES.find(each => each === mime);
  return known !== undefined && typeof data === 'string' && data !== ''
    ? { mime: known, data }
    : null;
}

/** The sub-calls; of those with the same id only the last, as ids tell them apart. */
function readSubcalls(value: unknown): ISubcall[] {
  const subcalls = readObjects(value, call => ({
    id: readNumber(call.id),
    state: readChoice(call.state, SUBCALL_STATES, 'error'),
    model: readText(call.model),
    prompt: readText(call.prompt),
    reply: readText(call.reply),
    seconds: readOptionalNumber(call.seconds),
    run: readText(call.run),
    remembered: readFlag(call.remembered)
  }));
  return [...new Map(subcalls.map(call => [call.id, call])).values()];
}
