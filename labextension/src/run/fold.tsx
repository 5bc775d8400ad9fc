import React from 'react';

import { useTrans } from '../context';
import { formatSeconds } from '../format';
import { StateMark } from '../mark';
import { TextBox } from '../text';
import { Branch, Leaf } from '../tree/tree';
import { IFold } from './document';

/** A line between two turns: from here on, a summary stands for those before. */
export function Fold(props: { node: string; fold: IFold }): React.JSX.Element {
  const { node, fold } = props;
  const trans = useTrans();
  const title =
    fold.turns > 1
      ? trans.__('Turns 1–%1 folded (summary)', fold.turns)
      : trans.__('Turn 1 folded (summary)');
  return (
    <Branch
      node={node}
      row={
        <>
          <StateMark mark="folded" />
          <span className="kowalski-fold">{title}</span>
          <span className="kowalski-number kowalski-quiet">
            {formatSeconds(fold.seconds, trans)}
          </span>
        </>
      }
    >
      {fold.summary !== '' && (
        <Leaf
          node={`${node}/summary`}
          label={trans.__('Summary by the model: %1', fold.summary)}
        >
          <div className="kowalski-caption">
            {trans.__('Summary by the model')}
          </div>
          <TextBox
            className="kowalski-prose"
            label={trans.__('Summary by the model')}
            text={fold.summary}
          />
        </Leaf>
      )}
      {fold.kept.length > 0 && (
        <Branch
          node={`${node}/kept`}
          open
          row={
            <span className="kowalski-quiet">
              {trans._n(
                '%1 fact kept that the summary lacked',
                '%1 facts kept that the summary lacked',
                fold.kept.length
              )}
            </span>
          }
        >
          {fold.kept.map((fact, index) => (
            <Leaf
              key={index}
              node={`${node}/kept/${index}`}
              label={trans.__('Kept: %1', fact)}
            >
              <TextBox
                className="kowalski-fact-kept"
                label={trans.__('Kept')}
                text={fact}
              />
            </Leaf>
          ))}
        </Branch>
      )}
    </Branch>
  );
}
