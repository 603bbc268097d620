/** Long work in slices, so that the page is drawn and reacts while it runs. */

const SLICE_MS = 25;

/** `if (pace.due()) await pace.rest();` between two steps of the work. */
export class Pace {
  private began = performance.now();

  due(): boolean {
    return performance.now() - this.began > SLICE_MS;
  }

  async rest(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve));
    this.began = performance.now();
  }
}
