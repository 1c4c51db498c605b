"""fastapi-users with its register router, set up as documented.

`python app.py` creates the tables; `uvicorn app:app` serves.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI
from fastapi_users import (
    BaseUserManager,
    FastAPIUsers,
    InvalidPasswordException,
    UUIDIDMixin,
    schemas,
)
from fastapi_users.password import PasswordHelper
from fastapi_users_db_sqlalchemy import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from pwdlib import PasswordHash
from pwdlib.hashers.bcrypt import BcryptHasher
from sqlalchemy import String
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# As many connections as the service's command pool; the default opens and closes some under load.
engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=10, max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)

# The default is argon2.
password_helper = PasswordHelper(PasswordHash((BcryptHasher(rounds=12),)))


class Base(DeclarativeBase):
    """Holds the metadata of the tables."""


class User(SQLAlchemyBaseUserTableUUID, Base):
    """The library's columns, and the name that the other peers store."""

    name: Mapped[str] = mapped_column(String(255))


class UserRead(schemas.BaseUser[uuid.UUID]):
    """The response."""

    name: str


class UserCreate(schemas.BaseUserCreate):
    """The request."""

    name: str


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    """The library's manager, with a password rule, as it has none by default."""

    async def validate_password(self, password: str, user: schemas.BaseUserCreate | User) -> None:
        """As in the documentation's example: a minimum length, and not the address."""
        if len(password) < 8:
            raise InvalidPasswordException(reason="at least 8 characters are needed")
        if user.email in password:
            raise InvalidPasswordException(reason="the password has the address in it")


async def get_user_db() -> AsyncIterator[SQLAlchemyUserDatabase[User, uuid.UUID]]:
    """A session for each request."""
    async with sessions() as session:
        yield SQLAlchemyUserDatabase(session, User)


async def get_user_manager(
    user_db: SQLAlchemyUserDatabase[User, uuid.UUID] = Depends(get_user_db),
) -> AsyncIterator[UserManager]:
    """A manager for each request."""
    yield UserManager(user_db, password_helper)


app = FastAPI()
app.include_router(
    FastAPIUsers[User, uuid.UUID](get_user_manager, []).get_register_router(UserRead, UserCreate),
    prefix="/auth",
)


async def _create_tables() -> None:
    """Creates the tables; the library's own index makes the address unique."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(_create_tables())
