import { ReactWidget } from '@jupyterlab/ui-components';
import { IDisposable } from '@lumino/disposable';
import { Message } from '@lumino/messaging';
import React, { useEffect, useRef } from 'react';

import { IViewTools, useTrans, ViewTools } from '../context';
import { kowalskiIcon } from '../icon';
import { IStatus } from '../server/status';
import { IMonitor } from '../tokens';
import { ConnectionNote } from './connection';
import { useMonitor } from './hooks';
import { Devices } from './devices';
import { Machine } from './machine';
import { Model } from './model';
import { RunDetails } from './details';
import { Runs } from './runs';

/** The side panel: runs, the model in use, the devices, this machine. */
export class Panel extends ReactWidget {
  constructor(
    private readonly _monitor: IMonitor,
    tools: IViewTools
  ) {
    super();
    this._tools = { ...tools, openRun: this.showRun };
    const { trans } = tools;
    this.id = 'kowalski-panel';
    this.title.icon = kowalskiIcon;
    this.title.caption = trans.__('Kowalski runs');
    this.addClass('kowalski-panel');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('Kowalski runs'));
    // It scrolls, so the keyboard must reach it even when it holds no control.
    this.node.tabIndex = 0;
  }

  /** Show one run in full, or all of them. */
  readonly showRun = (id: string | null): void => {
    this._shown = id;
    this.update();
  };

  override dispose(): void {
    this._unwatch();
    super.dispose();
  }

  protected override render(): React.JSX.Element {
    return (
      <ViewTools.Provider value={this._tools}>
        <PanelBody
          monitor={this._monitor}
          shown={this._shown}
          onShow={this.showRun}
        />
      </ViewTools.Provider>
    );
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._watchIfVisible();
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._watchIfVisible();
  }

  protected override onBeforeHide(message: Message): void {
    this._unwatch();
    super.onBeforeHide(message);
  }

  protected override onBeforeDetach(message: Message): void {
    this._unwatch();
    super.onBeforeDetach(message);
  }

  protected override onActivateRequest(message: Message): void {
    super.onActivateRequest(message);
    this.node.focus();
  }

  private _watchIfVisible(): void {
    if (this.isVisible && this._watching === null) {
      this._watching = this._monitor.watch();
    }
  }

  private _unwatch(): void {
    this._watching?.dispose();
    this._watching = null;
  }

  private readonly _tools: IViewTools;
  private _shown: string | null = null;
  private _watching: IDisposable | null = null;
}

function PanelBody(props: {
  monitor: IMonitor;
  shown: string | null;
  onShow: (id: string | null) => void;
}): React.JSX.Element {
  const { monitor, shown, onShow } = props;
  const { connection, status } = useMonitor(monitor);
  const summary = status?.runs.find(({ id }) => id === shown);
  const last = useRef(shown);
  useEffect(() => {
    if (shown === null && last.current !== null) {
      focusRun(last.current);
    }
    last.current = shown;
  }, [shown]);
  return (
    <>
      <ConnectionNote connection={connection} hasStatus={status !== null} />
      {status !== null &&
        (shown !== null ? (
          <RunDetails
            key={shown}
            id={shown}
            monitor={monitor}
            resumable={summary?.resumable === true && summary.parent === ''}
            onBack={() => onShow(null)}
            onOpen={onShow}
          />
        ) : (
          <Overview status={status} monitor={monitor} onOpen={onShow} />
        ))}
    </>
  );
}

/** Put the focus where it was before the run was opened. */
function focusRun(id: string): void {
  const row = `.kowalski-panel [data-run="${CSS.escape(id)}"]`;
  const button = document.querySelector(`${row} .kowalski-run-open`);
  (button as HTMLElement | null)?.focus();
}

function Overview(props: {
  status: IStatus;
  monitor: IMonitor;
  onOpen: (id: string) => void;
}): React.JSX.Element {
  const { status, monitor, onOpen } = props;
  const trans = useTrans();
  return (
    <>
      <Section title={trans.__('Runs')}>
        <Runs runs={status.runs} monitor={monitor} onOpen={onOpen} />
      </Section>
      <Section title={trans.__('Model')}>
        <Model model={status.model} />
      </Section>
      <Section title={trans.__('Devices')}>
        <Devices
          devices={status.devices}
          alerts={status.alerts}
          monitor={monitor}
        />
      </Section>
      <Section title={trans.__('This machine')}>
        <Machine machine={status.machine} />
      </Section>
    </>
  );
}

function Section(props: {
  title: string;
  children: React.ReactNode;
}): React.JSX.Element {
  return (
    <section className="kowalski-section" aria-label={props.title}>
      <h2>{props.title}</h2>
      {props.children}
    </section>
  );
}
