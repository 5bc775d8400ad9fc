/**
 * Tolerant readers of untrusted JSON.
 *
 * A document may come from a stranger's notebook or from another version of the
 * Python package: whatever is missing or of the wrong kind becomes a harmless
 * value, and no text or list is longer than a browser can lay out.
 */

/** The longest text that is shown, in UTF-16 units. */
const MAX_TEXT = 200_000;

/** The longest list that is shown. */
const MAX_ITEMS = 1_000;

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function readText(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, MAX_TEXT) : '';
}

export function readOptionalText(value: unknown): string | null {
  return typeof value === 'string' ? readText(value) : null;
}

export function readNumber(value: unknown): number {
  return readOptionalNumber(value) ?? 0;
}

/** A finite number that is not negative: all numbers of the format are amounts. */
export function readOptionalNumber(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
    ? value
    : null;
}

export function readFlag(value: unknown): boolean {
  return value === true;
}

/** The items that are objects, each read by `read`. */
export function readObjects<T>(
  value: unknown,
  read: (item: JsonObject) => T
): T[] {
  return readItems(value).filter(isObject).map(read);
}

export function readTexts(value: unknown): string[] {
  return readItems(value)
    .filter(item => typeof item === 'string')
    .map(readText);
}

export function readOptionalObject<T>(
  value: unknown,
  read: (item: JsonObject) => T
): T | null {
  return isObject(value) ? read(value) : null;
}

export function readObject(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

export function readChoice<T extends string>(
  value: unknown,
  choices: readonly T[],
  otherwise: T
): T {
  return choices.find(choice => choice === value) ?? otherwise;
}

function readItems(value: unknown): unknown[] {
  return Array.isArray(value) ? value.slice(0, MAX_ITEMS) : [];
}
