/** One explanation to draw, and the explanation of the start to compare it with. */
import type { Why } from "../answers";
import type { Explained } from "../api/answer";

export interface Pictured {
  why: Why;
  explained: Explained;
  before?: { why: Why; explained: Explained };
}
