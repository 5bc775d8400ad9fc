import { TranslationBundle } from '@jupyterlab/translation';
import React, { memo } from 'react';

import { useTrans } from '../context';
import { firstLine, formatCount, formatSeconds } from '../format';
import { StateMark } from '../mark';
import { TextBox } from '../text';
import { Branch, Leaf } from '../tree/tree';
import { ICell, ISubcall } from './document';
import { RunLink } from './link';
import { subcallLook } from './states';

/** The calls of models that a cell made, one row each. */
export function Subcalls(props: {
  node: string;
  cell: ICell;
}): React.JSX.Element {
  const { node, cell } = props;
  const trans = useTrans();
  const left = cell.subcalls_total - cell.subcalls.length;
  // The document holds the first and the last: those left out lie in the middle.
  const gap = left > 0 ? Math.ceil(cell.subcalls.length / 2) : -1;
  const failed = cell.subcalls.filter(call => call.state === 'error').length;
  const remembered = cell.subcalls.filter(call => call.remembered).length;
  return (
    <Branch
      node={node}
      open={cell.state === 'running'}
      row={
        <>
          <span className="kowalski-title">
            {trans._n('%1 sub-call', '%1 sub-calls', cell.subcalls_total)}
          </span>
          {failed > 0 && (
            <span className="kowalski-quiet">
              {trans._n('%1 failed', '%1 failed', failed)}
            </span>
          )}
          {remembered > 0 && (
            <span className="kowalski-quiet">
              {trans._n('%1 remembered', '%1 remembered', remembered)}
            </span>
          )}
        </>
      }
    >
      {cell.subcalls.map((call, index) => (
        <React.Fragment key={call.id}>
          {index === gap && (
            <Leaf
              node={`${node}/gap`}
              label={trans.__('%1 sub-calls not shown', formatCount(left))}
            >
              <div className="kowalski-gap">
                {trans.__('… %1 not shown …', formatCount(left))}
              </div>
            </Leaf>
          )}
          <Subcall node={`${node}/${call.id}`} call={call} />
        </React.Fragment>
      ))}
    </Branch>
  );
}

interface ISubcallProps {
  readonly node: string;
  readonly call: ISubcall;
}

/** Rendered again only when something in it changed: there are up to a hundred. */
const Subcall = memo(
  function Subcall({ node, call }: ISubcallProps): React.JSX.Element {
    const trans = useTrans();
    const look = subcallLook(call.state, trans);
    return (
      <Branch
        node={node}
        row={
          <span className="kowalski-subcall">
            <StateMark mark={look.mark} />
            <span className="kowalski-spoken">
              {call.remembered
                ? trans.__('Sub-call, %1, remembered:', look.word)
                : trans.__('Sub-call, %1:', look.word)}
            </span>
            <span className="kowalski-number kowalski-quiet">{call.id}</span>
            <span className="kowalski-ellipsis kowalski-quiet">
              {firstLine(call.prompt)}
            </span>
            <span className="kowalski-subcall-reply">
              <span className="kowalski-ellipsis">{firstLine(call.reply)}</span>
              {call.remembered && (
                <span
                  className="kowalski-remembered"
                  title={trans.__(
                    'Remembered: an equal call was answered before, no model was asked'
                  )}
                >
                  <StateMark mark="remembered" />
                </span>
              )}
              {call.run !== '' && <RunLink id={call.run} />}
            </span>
            <span className="kowalski-number">
              {call.seconds === null
                ? look.word
                : call.remembered
                  ? '–'
                  : formatSeconds(call.seconds, trans)}
            </span>
          </span>
        }
      >
        <Leaf
          node={`${node}/prompt`}
          label={trans.__('Asked: %1', call.prompt)}
        >
          <div className="kowalski-caption">
            {trans.__('Asked %1', call.model)}
          </div>
          <TextBox
            className="kowalski-prose"
            label={trans.__('Asked')}
            text={call.prompt}
          />
        </Leaf>
        {call.reply !== '' && (
          <Leaf
            node={`${node}/reply`}
            label={trans.__('Replied: %1', call.reply)}
          >
            <div className="kowalski-caption">{replyCaption(call, trans)}</div>
            <TextBox
              className="kowalski-prose"
              label={trans.__('Replied')}
              text={call.reply}
              growing={call.state === 'running'}
            />
          </Leaf>
        )}
        {call.run !== '' && (
          <Leaf
            node={`${node}/run`}
            label={trans.__('Answered by the child run %1', call.run)}
          >
            <span className="kowalski-caption">
              {trans.__('Answered by the child run')}
            </span>{' '}
            <RunLink id={call.run} />
          </Leaf>
        )}
      </Branch>
    );
  },
  (before, after) =>
    before.node === after.node && sameSubcall(before.call, after.call)
);

function replyCaption(call: ISubcall, trans: TranslationBundle): string {
  if (call.state === 'error') {
    return trans.__('Failed');
  }
  return call.remembered
    ? trans.__('Replied, remembered from an equal call')
    : trans.__('Replied');
}

function sameSubcall(one: ISubcall, other: ISubcall): boolean {
  return (
    one.id === other.id &&
    one.state === other.state &&
    one.model === other.model &&
    one.prompt === other.prompt &&
    one.reply === other.reply &&
    one.seconds === other.seconds &&
    one.run === other.run &&
    one.remembered === other.remembered
  );
}
