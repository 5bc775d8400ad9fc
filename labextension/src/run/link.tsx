import React, { useContext } from 'react';

import { ViewTools } from '../context';

/**
 * The id of another run, which leads to it where runs can be shown.
 *
 * Inside a tree: the Tab key does not stop at it, the Enter key on its item does.
 */
export function RunLink({ id }: { id: string }): React.JSX.Element {
  const { trans, openRun } = useContext(ViewTools);
  if (openRun === null) {
    return (
      <span
        className="kowalski-run-id"
        title={trans.__('Run %1: %rlm show %1 shows it', id)}
      >
        {id}
      </span>
    );
  }
  return (
    <button
      type="button"
      tabIndex={-1}
      className="kowalski-link"
      title={trans.__('Show run %1', id)}
      onClick={event => {
        event.stopPropagation();
        openRun(id);
      }}
    >
      {id}
    </button>
  );
}
