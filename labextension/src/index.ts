import { cancelPlugin } from './plugins/cancel';
import { monitorPlugin } from './plugins/monitor';
import { panelPlugin } from './plugins/panel';
import { rendererPlugin } from './plugins/renderer';
import { statusBarPlugin } from './plugins/statusbar';

export * from './tokens';

export default [
  monitorPlugin,
  rendererPlugin,
  panelPlugin,
  cancelPlugin,
  statusBarPlugin
];
