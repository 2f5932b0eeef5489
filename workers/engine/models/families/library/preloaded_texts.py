"""Imports the packages of the extra `text`. A fork server imports this module, so that its children need not."""

from workers.engine.models.families.library.packages import package

package("transformers.modeling_utils")
