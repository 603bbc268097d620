/** One explanation to draw, and the explanation of the start to compare it with. */
import type { RowExplanation } from "../answers";
import type { OutputExplanation } from "../api/answer";

export interface Comparison {
  why: RowExplanation;
  explained: OutputExplanation;
  before?: { why: RowExplanation; explained: OutputExplanation };
}
