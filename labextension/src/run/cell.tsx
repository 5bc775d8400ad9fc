import React, { useContext, useMemo } from 'react';

import { useTrans, ViewTools } from '../context';
import { firstLine, formatCount, formatSeconds } from '../format';
import { StateMark } from '../mark';
import { colourAs, TextBox } from '../text';
import { Branch, Leaf } from '../tree/tree';
import { ICell, IOutput, OutputKind } from './document';
import { cellLook, waitingLook } from './states';
import { Rich } from './rich';
import { Subcalls } from './subcalls';

/** Outputs up to this length are read out with the name of their item. */
const SHORT = 200;

/** Code that the model wrote, its outputs and the calls it made. */
export function Cell(props: {
  node: string;
  cell: ICell;
  /** Whether it waits for the user's word. */
  waits: boolean;
}): React.JSX.Element {
  const { node, cell, waits } = props;
  const trans = useTrans();
  const { highlight } = useContext(ViewTools);
  const colour = useMemo(
    () => colourAs(highlight, cell.language),
    [highlight, cell.language]
  );
  const look = waits ? waitingLook(trans) : cellLook(cell.state, trans);
  return (
    <Branch
      node={node}
      open
      row={
        <>
          <StateMark mark={look.mark} />
          <span className="kowalski-title">{trans.__('Cell %1', cell.id)}</span>
          <span className="kowalski-quiet">
            {[
              cell.language,
              look.word,
              ...(cell.seconds === null
                ? []
                : [formatSeconds(cell.seconds, trans)])
            ].join(' · ')}
          </span>
        </>
      }
    >
      <Leaf
        node={`${node}/code`}
        label={trans.__('Code: %1', firstLine(cell.code))}
      >
        <TextBox
          className="kowalski-code"
          label={trans.__('Code of cell %1', cell.id)}
          text={cell.code}
          growing={cell.state === 'writing' && !waits}
          colour={colour}
        />
      </Leaf>
      {cell.subcalls_total > 0 && (
        <Subcalls node={`${node}/subcalls`} cell={cell} />
      )}
      {cell.outputs.map((output, index) => (
        <Output
          key={index}
          node={`${node}/output-${index}`}
          output={output}
          growing={cell.state === 'running'}
        />
      ))}
    </Branch>
  );
}

function Output(props: {
  node: string;
  output: IOutput;
  growing: boolean;
}): React.JSX.Element {
  const { node, output, growing } = props;
  const trans = useTrans();
  const name = useOutputName(output.kind);
  // Counted as Python counts: a character outside the basic plane is one.
  const shown = useMemo(() => Array.from(output.text).length, [output.text]);
  const caption =
    output.length > shown
      ? trans.__(
          '%1, shortened from %2 characters',
          name,
          formatCount(output.length)
        )
      : name;
  return (
    <Leaf
      node={node}
      label={
        output.text.length <= SHORT ? `${caption}: ${output.text}` : caption
      }
    >
      <div className="kowalski-caption">{caption}</div>
      {output.rich === null ? (
        <TextBox
          className={`kowalski-output kowalski-output-${output.kind}`}
          label={caption}
          text={output.text}
          growing={growing}
        />
      ) : (
        <Rich rich={output.rich} text={output.text} label={caption} />
      )}
    </Leaf>
  );
}

function useOutputName(kind: OutputKind): string {
  const trans = useTrans();
  switch (kind) {
    case 'stdout':
      return trans.__('Printed');
    case 'stderr':
      return trans.__('Printed to stderr');
    case 'result':
      return trans.__('Result');
    case 'display':
      return trans.__('Displayed');
    case 'error':
      return trans.__('Error');
  }
}
