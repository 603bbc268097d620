/** The properties of every kind of entry: number, category, image, text. */
import type { Field } from "../model";

export interface EntryProps {
  field: Field;
  id: string;
  described?: string;
  wrong: boolean;
}
