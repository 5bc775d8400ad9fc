import React from 'react';

import { useTrans } from '../context';
import { formatCount, formatSeconds } from '../format';
import { StateMark } from '../mark';
import { TextBox } from '../text';
import { Branch, Leaf, Tree } from '../tree/tree';
import { Cell } from './cell';
import { ICell, IProse, IRun, ITurn } from './document';
import { Fold } from './fold';
import { RunLink } from './link';
import { turnLook, waitingLook } from './states';

/** The tree of a run's turns, and of what it ran with. */
export function Trace({ run }: { run: IRun }): React.JSX.Element {
  const trans = useTrans();
  return (
    <Tree
      id={run.id}
      label={trans.__('Course of the run')}
      first={run.turns.length > 0 ? 'turn-0' : 'about'}
    >
      {run.turns.map((turn, index) => (
        <React.Fragment key={index}>
          {turn.fold !== null && (
            <Fold node={`fold-${index}`} fold={turn.fold} />
          )}
          <Turn
            node={`turn-${index}`}
            turn={turn}
            waits={run.approval?.cell ?? ''}
            // The turn that goes on, or in which the run broke off.
            current={run.state !== 'done' && index === run.turns.length - 1}
          />
        </React.Fragment>
      ))}
      <About run={run} />
    </Tree>
  );
}

interface ITurnProps {
  readonly node: string;
  readonly turn: ITurn;
  /** The id of the cell that waits for the user's word, or an empty string. */
  readonly waits: string;
  readonly current: boolean;
}

function Turn(props: ITurnProps): React.JSX.Element {
  const { node, turn, waits, current } = props;
  const trans = useTrans();
  const cells = turn.parts.filter(part => part.kind === 'cell');
  const look = cells.some(({ id }) => id === waits)
    ? waitingLook(trans)
    : turnLook(turn.state, cells, trans);
  return (
    <Branch
      node={node}
      open={current}
      row={
        <>
          <StateMark mark={look.mark} />
          <span className="kowalski-title">
            {trans.__('Turn %1', turn.number)}
          </span>
          <span className="kowalski-quiet">
            {[
              look.word,
              ...(cells.length > 0
                ? [trans._n('%1 cell', '%1 cells', cells.length)]
                : []),
              formatSeconds(turn.seconds, trans)
            ].join(' · ')}
          </span>
        </>
      }
    >
      {turn.reasoning !== '' && (
        <Branch
          node={`${node}/reasoning`}
          open={turn.state === 'thinking' && turn.parts.length === 0}
          row={
            <>
              <span className="kowalski-title">{trans.__('Reasoning')}</span>
              <span className="kowalski-quiet">
                {trans.__('%1 characters', formatCount(turn.reasoning.length))}
              </span>
            </>
          }
        >
          <Prose
            node={`${node}/reasoning/text`}
            label={trans.__('Reasoning')}
            text={turn.reasoning}
            growing={turn.state === 'thinking'}
          />
        </Branch>
      )}
      {turn.parts.map((part, index) => (
        <Part
          key={index}
          node={`${node}/part-${index}`}
          part={part}
          waits={waits}
          growing={turn.state === 'thinking' && index === turn.parts.length - 1}
        />
      ))}
      {turn.feedback !== null && (
        <Leaf
          node={`${node}/feedback`}
          label={trans.__('Told the model: %1', turn.feedback)}
        >
          <div className="kowalski-caption">{trans.__('Told the model')}</div>
          <TextBox
            className="kowalski-prose"
            label={trans.__('Told the model')}
            text={turn.feedback}
          />
        </Leaf>
      )}
    </Branch>
  );
}

function Part(props: {
  node: string;
  part: IProse | ICell;
  waits: string;
  growing: boolean;
}): React.JSX.Element {
  const { node, part, waits, growing } = props;
  const trans = useTrans();
  return part.kind === 'cell' ? (
    <Cell node={node} cell={part} waits={part.id === waits} />
  ) : (
    <Prose
      node={node}
      label={trans.__('The model wrote')}
      text={part.text}
      growing={growing}
    />
  );
}

function Prose(props: {
  node: string;
  label: string;
  text: string;
  growing: boolean;
}): React.JSX.Element {
  return (
    <Leaf node={props.node} label={`${props.label}: ${props.text}`}>
      <TextBox
        className="kowalski-prose"
        label={props.label}
        text={props.text}
        growing={props.growing}
      />
    </Leaf>
  );
}

interface IFact {
  readonly name: string;
  readonly value: string;
  /** Whether the value is the id of another run. */
  readonly isRun?: boolean;
}

/** What the run worked on and with. */
function About({ run }: { run: IRun }): React.JSX.Element {
  const trans = useTrans();
  const { usage } = run;
  const facts: IFact[] = [
    ...run.data.map(({ name, type, summary }) => ({
      name: trans.__('Data'),
      value: `${name} (${type}): ${summary}`
    })),
    { name: trans.__('Run by'), value: run.host },
    {
      name: trans.__('Sandbox'),
      value: run.sandbox ?? trans.__('no code was run')
    },
    {
      name: trans.__('Tokens'),
      value: trans.__(
        '%1 read, %2 written',
        formatCount(usage.prompt_tokens),
        formatCount(usage.completion_tokens)
      )
    },
    { name: trans.__('Run'), value: run.id },
    ...(run.parent !== ''
      ? [{ name: trans.__('Asked by'), value: run.parent, isRun: true }]
      : []),
    ...(run.origin !== ''
      ? [{ name: trans.__('Made from'), value: run.origin, isRun: true }]
      : [])
  ];
  return (
    <Branch
      node="about"
      row={<span className="kowalski-title">{trans.__('About this run')}</span>}
    >
      {facts.map(({ name, value, isRun = false }, index) => (
        <Leaf key={index} node={`about/${index}`} label={`${name}: ${value}`}>
          <div className="kowalski-fact">
            <span className="kowalski-quiet">{name}</span>
            <span>{isRun ? <RunLink id={value} /> : value}</span>
          </div>
        </Leaf>
      ))}
    </Branch>
  );
}
