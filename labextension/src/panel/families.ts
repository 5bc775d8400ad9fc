import { IRunSummary } from '../server/status';

/** A run and the runs that its code asked for. */
export interface IFamily {
  readonly run: IRunSummary;
  readonly children: readonly IFamily[];
}

/** Put child runs below their parents; one whose parent is not listed stands by itself. */
export function nest(runs: readonly IRunSummary[]): IFamily[] {
  const ids = new Set(runs.map(({ id }) => id));
  const children = new Map<string, IRunSummary[]>();
  const roots: IRunSummary[] = [];
  for (const run of runs) {
    // A child's id begins with its parent's: no run can be its own ancestor.
    if (ids.has(run.parent) && run.id.startsWith(`${run.parent}-`)) {
      children.set(run.parent, [...(children.get(run.parent) ?? []), run]);
    } else {
      roots.push(run);
    }
  }
  const family = (run: IRunSummary): IFamily => ({
    run,
    children: (children.get(run.id) ?? []).map(family)
  });
  return roots.map(family);
}
