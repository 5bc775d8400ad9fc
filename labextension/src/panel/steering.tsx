import React, { useId, useState } from 'react';

import { useTrans } from '../context';
import { IRun } from '../run/document';
import { Limit } from '../server/api';
import { IMonitor } from '../tokens';
import { Approval } from './approval';
import { Problem } from './problem';
import { useSending } from './sending';

/** The longest note that the server takes, in characters. */
const MAX_NOTE = 10_000;

/** What the user can do with a run that goes on. */
export function SteeringControls(props: {
  run: IRun;
  monitor: IMonitor;
}): React.JSX.Element {
  const { run, monitor } = props;
  const { approval } = run;
  return (
    <div className="kowalski-steering">
      {approval !== null && (
        <Approval
          key={approval.cell}
          id={run.id}
          approval={approval}
          monitor={monitor}
        />
      )}
      <Tell id={run.id} monitor={monitor} />
      <AllowMore run={run} monitor={monitor} />
    </div>
  );
}

function Tell(props: { id: string; monitor: IMonitor }): React.JSX.Element {
  const { id, monitor } = props;
  const trans = useTrans();
  const { send, busy, problem } = useSending(id, monitor);
  const [note, setNote] = useState('');
  const [told, setTold] = useState(false);
  const inputId = useId();
  const tell = async () => {
    const taken = await send({ tell: note });
    setTold(taken);
    if (taken) {
      setNote('');
    }
  };
  return (
    <form
      className="kowalski-form"
      onSubmit={event => {
        event.preventDefault();
        if (!busy && note.trim() !== '') {
          void tell();
        }
      }}
    >
      <label htmlFor={inputId} className="kowalski-caption">
        {trans.__('Tell the model')}
      </label>
      <div className="kowalski-fields">
        <input
          id={inputId}
          type="text"
          className="kowalski-input"
          value={note}
          maxLength={MAX_NOTE}
          autoComplete="off"
          onChange={event => {
            setNote(event.target.value);
            setTold(false);
          }}
        />
        <button
          type="submit"
          className="kowalski-button"
          disabled={busy || note.trim() === ''}
        >
          {trans.__('Send')}
        </button>
      </div>
      <p role="status" className="kowalski-caption kowalski-told">
        {told && trans.__('Sent: the model reads it before its next turn.')}
      </p>
      {problem !== null && <Problem text={problem} />}
    </form>
  );
}

/** Higher limits: opened when wanted, and closed again when they are in force. */
function AllowMore(props: { run: IRun; monitor: IMonitor }): React.JSX.Element {
  const { run, monitor } = props;
  const trans = useTrans();
  const { send, busy, problem } = useSending(run.id, monitor);
  const [open, setOpen] = useState(false);
  const [wanted, setWanted] = useState<Partial<Record<Limit, number>>>({});
  const formId = useId();
  const limits = Object.fromEntries(
    Object.entries(wanted).filter(([, value]) => !Number.isNaN(value))
  );
  const allow = async () => {
    if (await send({ limits })) {
      setWanted({});
      setOpen(false);
    }
  };
  return (
    <div>
      <button
        type="button"
        className="kowalski-link"
        aria-expanded={open}
        aria-controls={formId}
        onClick={() => setOpen(!open)}
      >
        {trans.__('Allow more …')}
      </button>
      <form
        id={formId}
        className="kowalski-form"
        hidden={!open}
        onSubmit={event => {
          event.preventDefault();
          if (!busy) {
            void allow();
          }
        }}
      >
        <div className="kowalski-fields">
          <LimitInput
            label={trans.__('Turns in all')}
            now={run.limits.turns}
            value={wanted.max_turns}
            onChange={value => setWanted({ ...wanted, max_turns: value })}
          />
          <LimitInput
            label={trans.__('Seconds in all')}
            now={run.limits.seconds}
            value={wanted.max_seconds}
            onChange={value => setWanted({ ...wanted, max_seconds: value })}
          />
          <button
            type="submit"
            className="kowalski-button"
            disabled={busy || Object.keys(limits).length === 0}
          >
            {trans.__('Allow')}
          </button>
        </div>
        {problem !== null && <Problem text={problem} />}
      </form>
    </div>
  );
}

function LimitInput(props: {
  label: string;
  now: number;
  value: number | undefined;
  onChange: (value: number) => void;
}): React.JSX.Element {
  const { label, now, value, onChange } = props;
  return (
    <label className="kowalski-limit">
      <span className="kowalski-caption">{label}</span>
      <input
        type="number"
        className="kowalski-input"
        min={1}
        step={1}
        placeholder={String(now)}
        value={value === undefined || Number.isNaN(value) ? '' : value}
        onChange={event => onChange(event.target.valueAsNumber)}
      />
    </label>
  );
}
