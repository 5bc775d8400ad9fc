/** How many trees are remembered; the longest unused is forgotten first. */
const MAX_TREES = 500;

/**
 * What the user opened and closed, by tree and node.
 *
 * Kept outside the views, which come and go with scrolling and re-rendering.
 */
export class OpenNodes {
  /** Whether the user opened the node; undefined if the choice was never made. */
  get(tree: string, node: string): boolean | undefined {
    return this._trees.get(tree)?.get(node);
  }

  set(tree: string, node: string, open: boolean): void {
    const nodes = this._trees.get(tree) ?? new Map<string, boolean>();
    nodes.set(node, open);
    // A map keeps the order of insertion: putting it in again makes it the newest.
    this._trees.delete(tree);
    this._trees.set(tree, nodes);
    const [oldest] = this._trees.keys();
    if (this._trees.size > MAX_TREES && oldest !== undefined) {
      this._trees.delete(oldest);
    }
  }

  private readonly _trees = new Map<string, Map<string, boolean>>();
}

/** The choices made on this page. */
export const openNodes = new OpenNodes();
