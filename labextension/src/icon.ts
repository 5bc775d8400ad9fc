import { LabIcon } from '@jupyterlab/ui-components';

/** A question in the middle of its calls: a square within a square, twice. */
export const kowalskiIcon = new LabIcon({
  name: 'kowalski-jupyter:runs',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M3 3h18v18H3zm2 2v14h14V5z" fill-rule="evenodd"/>
    <path d="M7.5 7.5h9v9h-9zm2 2v5h5v-5z" fill-rule="evenodd"/>
  </g>
</svg>`
});
