const GIB = 1024 ** 3;

/** A device, as the server's status holds it. */
export function device(fields = {}) {
  return {
    id: 'a1',
    name: 'Studio',
    model: 'Mac Studio',
    chip: 'Apple M3 Ultra',
    condition: 'ok',
    url: 'http://192.168.1.20:52415',
    memory_total: 512 * GIB,
    memory_available: 358.4 * GIB,
    disk_available: 384 * GIB,
    load: 0.73,
    temperature: 58.4,
    power: 87.2,
    round_trip: 0.004,
    unheard: 0.4,
    limits: [],
    instances: [],
    ...fields
  };
}

/** A model that is loaded on devices. */
export function instance(fields = {}) {
  return {
    id: 'i1',
    model: 'mlx-community/Llama-3.2-1B-Instruct-4bit',
    state: 'ready',
    detail: '',
    sharding: 'tensor',
    devices: ['Studio', 'MacBook'],
    ours: 8,
    others: 2,
    queued: 2,
    tokens_per_second: 31.4,
    ...fields
  };
}

export const LOST = device({
  id: 'c3',
  name: 'mini',
  model: 'Mac mini',
  chip: 'Apple M4 Pro',
  condition: 'lost',
  load: null,
  temperature: null,
  power: null,
  round_trip: null,
  unheard: 48
});

export const DEVICES = [
  device({ instances: [instance()] }),
  device({
    id: 'b2',
    name: 'MacBook',
    model: 'MacBook Pro',
    chip: 'Apple M4 Max',
    limits: ['battery'],
    instances: [
      instance(),
      instance({
        id: 'i2',
        model: 'mlx-community/Qwen3-0.6B-4bit',
        state: 'waiting',
        detail: 'loading, 40%',
        devices: ['MacBook'],
        ours: 0,
        others: 0,
        queued: 0,
        tokens_per_second: null
      })
    ]
  }),
  LOST,
  // On Linux exo reports neither sensors nor what kind of machine it is.
  device({
    id: 'd4',
    name: 'box',
    model: '',
    chip: '',
    load: null,
    temperature: null,
    power: null
  })
];

export const ALERT = {
  kind: 'device lost',
  level: 'error',
  subject: 'c3',
  text: 'mini is lost: it does not answer any more.',
  since: Date.now() / 1000 - 48,
  until: null
};

/** A minute of ten-second means, oldest first. */
export const TREND = [null, 0.2, 0.4, 0.9, 0.6, 0.3];
