import { answered, run } from './documents.js';

/** A summary of a run, as the server's status holds it. */
export function summary(fields = {}) {
  return {
    id: 'r-1',
    parent: '',
    question: 'How many of the notes complain about the heating?',
    state: 'running',
    error: null,
    model: 'qwen2.5-coder-1.5b-instruct',
    turn: 2,
    max_turns: 12,
    subcalls: 11,
    started: Date.now() / 1000 - 12,
    seconds: 12.3,
    answer: null,
    resumable: false,
    ...fields
  };
}

export const RUNS = [
  summary(),
  summary({
    id: 'r-2',
    state: 'done',
    question: 'Which three topics come up most often, and in which months?',
    answer: "['heating', 'parking', 'the canteen']",
    seconds: 64.2,
    turn: 4,
    subcalls: 120
  }),
  summary({
    id: 'r-3',
    state: 'failed',
    question: 'Summarise every note in one sentence.',
    error:
      'The model server at http://localhost:52415 does not answer. Start it, or unset KOWALSKI_URL.',
    turn: 1,
    subcalls: 0,
    seconds: 3.4
  }),
  summary({ id: 'r-4', state: 'cancelled', subcalls: 0, turn: 1, seconds: 8 })
];

export function status(fields = {}) {
  return {
    version: '0.1.0',
    runs: RUNS,
    model: {
      name: 'qwen2.5-coder-1.5b-instruct',
      where: 'this machine (embedded)',
      state: 'ready',
      detail: 'llama.cpp on 2 cores, 32,768 tokens of context'
    },
    machine: {
      load: 0.63,
      cores: 2,
      memory_total: 24 * 1024 ** 3,
      memory_available: 17.5 * 1024 ** 3
    },
    devices: [],
    alerts: [],
    ...fields
  };
}

/**
 * Stand in for the server extension, at the border of the browser.
 *
 * Returns a handle: `send` a status, `drop` the connection, `refuse` requests with
 * an HTTP status from now on, and what was cancelled, steered and connected so far.
 * `documents` holds what runs look like in full, by id; `trends` how devices were; `objection` is what a run
 * says to steering, if it does not take it.
 */
export async function fakeServer(page, first = status()) {
  const fake = {
    status: first,
    refusal: 0,
    cancelled: [],
    steered: [],
    documents: {},
    trends: {},
    objection: null,
    sockets: [],
    async send(next) {
      fake.status = next;
      for (const socket of fake.sockets) {
        socket.send(JSON.stringify(next));
      }
    },
    async drop() {
      for (const socket of fake.sockets.splice(0)) {
        await socket.close();
      }
    },
    refuse(code) {
      fake.refusal = code;
    }
  };
  await page.routeWebSocket(/\/kowalski\/api\/events/, socket => {
    fake.sockets.push(socket);
    socket.onClose(() => {
      fake.sockets.splice(fake.sockets.indexOf(socket), 1);
    });
    socket.send(JSON.stringify(fake.status));
  });
  await page.route(/\/kowalski\/api\//, async route => {
    const { pathname } = new URL(route.request().url());
    if (fake.refusal !== 0) {
      await route.fulfill({ status: fake.refusal, json: { message: 'no' } });
    } else if (pathname.endsWith('/cancel')) {
      fake.cancelled.push(pathname.split('/').at(-2));
      await route.fulfill({ status: 204 });
    } else if (pathname.endsWith('/steer')) {
      fake.steered.push(route.request().postDataJSON());
      await route.fulfill(
        fake.objection === null
          ? { status: 204 }
          : { status: 400, json: { error: fake.objection } }
      );
    } else if (pathname.endsWith('/trends')) {
      await route.fulfill({ json: fake.trends });
    } else if (pathname.endsWith('/status')) {
      await route.fulfill({ json: fake.status });
    } else {
      const id = pathname.split('/').at(-1);
      const document = fake.documents[id] ?? { ...answered, id };
      await route.fulfill({ json: run(document) });
    }
  });
  return fake;
}
