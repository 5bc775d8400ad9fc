/** Run documents as docs/run-format.md defines them. */

const MIME_TYPE = 'application/vnd.kowalski.run+json';

/** A run that has just begun, with whatever is given put in. */
export function run(fields = {}) {
  return {
    version: 1,
    id: 'r-3f9a0c',
    question: 'How many of the notes complain about the heating?',
    state: 'running',
    path: 'loop',
    parent: '',
    origin: '',
    error: null,
    model: {
      name: 'qwen2.5-coder-1.5b-instruct',
      where: 'this machine (embedded)'
    },
    host: 'jupyter server',
    sandbox: 'bubblewrap: no network, no home, 4.0 GB of memory',
    data: [
      { name: 'notes', type: 'list', summary: '12,408 items, 4.1 MB as text' }
    ],
    started: Date.now() / 1000,
    seconds: 12.3,
    limits: { turns: 12, seconds: 900 },
    usage: {
      turns: 0,
      subcalls: 0,
      subcalls_finished: 0,
      subcalls_failed: 0,
      subcalls_remembered: 0,
      prompt_tokens: 2310,
      completion_tokens: 410
    },
    notices: [],
    progress: null,
    turns: [],
    answer: null,
    approval: null,
    ...fields
  };
}

export function turn(number, fields = {}) {
  return {
    number,
    state: 'done',
    seconds: 3.1,
    reasoning: '',
    parts: [],
    feedback: null,
    fold: null,
    ...fields
  };
}

export function prose(text) {
  return { kind: 'prose', text };
}

export function cell(id, fields = {}) {
  return {
    kind: 'cell',
    id,
    language: 'python',
    code: 'print(len(notes))',
    state: 'ok',
    seconds: 0.04,
    outputs: [],
    subcalls: [],
    subcalls_total: fields.subcalls?.length ?? 0,
    ...fields
  };
}

export function output(kind, text, length = text.length) {
  return { kind, text, length, rich: null };
}

/** A picture or table, and what the model reads of it. */
export function rich(mime, data, text) {
  return { ...output('display', text), rich: { mime, data } };
}

export function subcall(id, fields = {}) {
  return {
    id,
    state: 'ok',
    model: 'qwen2.5-coder-1.5b-instruct',
    prompt: `Does this note complain about the heating? Answer yes or no.\nNote ${id}: It was cold again.`,
    reply: 'yes',
    seconds: 0.8,
    run: '',
    remembered: false,
    ...fields
  };
}

/** A cell of a saved notebook that shows a document. */
export function saved(document) {
  return {
    outputs: [
      {
        output_type: 'display_data',
        metadata: {},
        data: { [MIME_TYPE]: document, 'text/plain': 'a run' }
      }
    ]
  };
}

/** Python that shows a document in a cell, as the magic does. */
export function display(document, displayId = 'run') {
  return show('display', document, displayId);
}

/** Python that updates an output that `display` made. */
export function update(document, displayId = 'run') {
  return show('update_display', document, displayId);
}

function show(how, document, displayId) {
  // A JSON string is also a Python string.
  const literal = JSON.stringify(JSON.stringify(document));
  return [
    'import json',
    `from IPython.display import ${how}`,
    `_ = ${how}({${JSON.stringify(MIME_TYPE)}: json.loads(${literal}), "text/plain": "a run"}, raw=True, display_id=${JSON.stringify(displayId)})`
  ].join('\n');
}

/** A turn that looked at the data. */
export const looking = turn(1, {
  parts: [
    prose('I look at the notes first.'),
    cell('1.1', {
      code: 'print(type(notes), len(notes))\nprint(notes[0])',
      outputs: [output('stdout', "<class 'list'> 12408\nIt was cold again.\n")]
    })
  ]
});

/** A turn that asks a model about parts of the data, and is not finished. */
export const asking = turn(2, {
  state: 'running',
  parts: [
    prose('Each note is short. I ask about them one by one.'),
    cell('2.1', {
      state: 'running',
      seconds: null,
      code: 'replies = llm_query_batched([\n    f"Does this note complain about the heating? {note}"\n    for note in notes\n])\nFINAL(sum(reply.startswith("yes") for reply in replies))',
      subcalls: [
        ...Array.from({ length: 8 }, (_, index) => subcall(index + 1)),
        subcall(9, {
          state: 'error',
          reply: 'the model took longer than 60 s'
        }),
        subcall(10, { state: 'running', reply: '', seconds: null }),
        subcall(11, { state: 'waiting', reply: '', seconds: null })
      ]
    })
  ]
});

/** The same run when it has ended. */
export const answered = run({
  state: 'done',
  answer: { type: 'int', text: '412', partial: false },
  usage: {
    turns: 2,
    subcalls: 11,
    subcalls_finished: 11,
    subcalls_failed: 1,
    subcalls_remembered: 0,
    prompt_tokens: 2310,
    completion_tokens: 410
  },
  turns: [
    looking,
    turn(2, {
      parts: [
        asking.parts[0],
        { ...asking.parts[1], state: 'final', seconds: 9.3 }
      ]
    })
  ]
});

/** A long run whose chat was folded, and which a limit ended. */
export const folded = run({
  id: 'r-folded',
  state: 'failed',
  error:
    'The run used all of its 14 turns. The best answer so far is kept. Allow more with --max-turns 28, or go on with %rlm resume r-folded.',
  answer: {
    type: 'str',
    text: 'At least 380 of the notes, most of them from January.',
    partial: true
  },
  limits: { turns: 14, seconds: 900 },
  usage: {
    turns: 14,
    subcalls: 3,
    subcalls_finished: 3,
    subcalls_failed: 0,
    subcalls_remembered: 1,
    prompt_tokens: 23_100,
    completion_tokens: 4_100
  },
  turns: [
    ...Array.from({ length: 12 }, (_, index) => turn(index + 1)),
    turn(13, {
      parts: [
        prose('I ask about the notes of each month.'),
        cell('13.1', {
          code: 'replies = rlm_query_batched(questions, months)',
          subcalls: [
            subcall(1, { run: 'r-folded-1', reply: '203', seconds: 14.2 }),
            subcall(2, { run: 'r-folded-2', reply: '177', seconds: 11.9 }),
            subcall(3, { remembered: true, reply: 'yes', seconds: 0.0004 })
          ]
        })
      ],
      fold: {
        turns: 12,
        summary:
          'The notes are short texts with a date. Those of January to June were read one by one; `counts` holds how many of each month complain.',
        kept: [
          'Variables: counts, months, questions',
          'Turn 7 printed: 380 of 6,204'
        ],
        seconds: 4.1
      }
    }),
    turn(14, { parts: [prose('Half of the months are done.')] })
  ]
});

/** A run started with --step, whose code waits for the user's word. */
export const waiting = run({
  id: 'r-1',
  turns: [
    looking,
    turn(2, {
      state: 'thinking',
      parts: [
        prose('Each note is short. I ask about them one by one.'),
        {
          ...asking.parts[1],
          state: 'writing',
          subcalls: [],
          subcalls_total: 0
        }
      ]
    })
  ],
  approval: { cell: '2.1', language: 'python', code: asking.parts[1].code }
});
