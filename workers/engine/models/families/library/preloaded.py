"""Imports the packages of the extra `vision`. A fork server imports this module, so that its children need not."""

from workers.engine.models.families.library.packages import package

package("torchvision")
package("timm")
package("transformers.modeling_utils")
